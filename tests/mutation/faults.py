"""The faults that `make broken` puts into the code, one for each row of docs/guarantees.md.

A fault whose text is not in the code any more is an error: whoever changed the code says here how to break it
now.
"""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """How a guarantee is broken: in a file, one text by another; `test` is named in the row."""

    row: str  # how the row begins
    file: str
    old: str
    new: str
    test: str


SIMULATION = "tests/simulation/test_simulation.py::test_nothing_is_lost_and_nothing_happens_twice"
FORGETS = "DELETE FROM entries WHERE seq = (SELECT max(seq) FROM entries)"
FAULTS = (
    Fault(
        "A process actor dies",
        "aoray/actors/evaluation.py",
        "        return Started(resident.nonce + 1, known_nonce)",
        "        return Started(max(resident.nonce, known_nonce) + 1, known_nonce)",
        "tests/e2e/test_load.py::test_killed_actors_lose_and_double_nothing",
    ),
    Fault(
        "A scheduler shard dies",
        "aoray/storage/log.py",
        "            if term != self._term:\n                raise StaleTerm",
        "            if term < 0:\n                raise StaleTerm",
        SIMULATION,
    ),
    Fault(
        "A gateway dies",
        "aoray/gateway/push/pusher.py",
        "            self.push(reference for reference in found if self._owns(reference[0]))",
        "            self.push(reference for reference in found if not reference)",
        "tests/unit/gateway/push/test_pusher.py::test_the_scan_finds_what_nobody_announced",
    ),
    Fault(
        "`kill -9` of the whole process tree",
        "aoray/storage/log.py",
        "            _refuse_later(version, self._path)\n",
        '            if version:\n                self._db.execute("' + FORGETS + '")\n',
        "tests/e2e/test_load.py::test_what_was_acknowledged_survives_kill_9_of_everything",
    ),
    Fault(
        "The power fails",
        "aoray/storage/log.py",
        "PRAGMA synchronous=FULL",
        "PRAGMA synchronous=OFF",
        "tests/chaos/test_power_cut.py::test_a_log_holds_what_it_acknowledged",
    ),
    Fault(
        "The disk is full",
        "aoray/scheduler/committer.py",
        "            self.log.append(ordered.entries, changed, block_height, crons)\n            for",
        "            try:\n"
        "                self.log.append(ordered.entries, changed, block_height, crons)\n"
        "            except Unavailable:\n"
        "                pass\n"
        "            for",
        "tests/e2e/test_full_disk.py::test_a_full_disk_refuses_and_what_was_acknowledged_is_counted_once",
    ),
    Fault(
        "The disk is lost",
        "aoray/scheduler/flusher.py",
        "for row in rows for raw in row)))",
        "for row in rows for raw in row[:1])))",
        "tests/e2e/test_audit.py::test_what_a_computer_did_is_found_again_from_its_arweave_alone",
    ),
    Fault(
        "A node is lost with its disk",
        "aoray/storage/postgres_log.py",
        '            term = int(db.execute("UPDATE shard',
        '            db.execute("' + FORGETS + '")\n            term = int(db.execute("UPDATE shard',
        "tests/e2e/test_storage.py::test_a_computer_goes_on_when_its_actors_and_then_all_its_disks_are_lost",
    ),
    Fault(
        "PostgreSQL is unreachable",
        "aoray/storage/postgres.py",
        "    except psycopg.Error as error:\n        raise Unavailable(",
        "    except KeyError as error:\n        raise Unavailable(",
        "tests/unit/storage/test_stores.py"
        "::test_a_lost_connection_is_unavailable_and_the_batch_may_be_sent_again",
    ),
    Fault(
        "S3 is unreachable",
        "aoray/storage/checkpoints.py",
        "        except OSError as error:\n            raise BadCheckpoint(f\"checkpoint {name} can't",
        "        except KeyError as error:\n            raise BadCheckpoint(f\"checkpoint {name} can't",
        "tests/unit/actors/test_shared_files.py"
        "::test_a_process_goes_on_with_its_counts_when_the_server_is_away",
    ),
    Fault(
        "A gateway dies under",
        "aoray/client/retry.py",
        "                    if not is_patient(error):\n                        raise\n",
        "                    raise\n",
        "tests/e2e/test_connect.py::test_when_gateways_die_all_is_sent_again_and_counts_once",
    ),
    Fault(
        "A node of a cluster dies",
        "aoray/storage/log.py",
        "            if term != self._term:\n                raise StaleTerm",
        "            if term < 0:\n                raise StaleTerm",
        "tests/multinode/test_nodes.py::test_a_shard_that_is_cut_off_and_still_runs_can_write_nothing",
    ),
    Fault(
        "A client opens ten thousand waits",
        "aoray/web/shares.py",
        "        if own > self.most - self.held - amount:",
        "        if self.held + amount > self.most:",
        "tests/e2e/test_crowd.py::test_ten_thousand_waits_of_one_address_cost_the_others_nothing",
    ),
    Fault(
        "Arweave is unreachable, forks",
        "aoray/scheduler/upload_rules.py",
        "    if policy.confirmations_min == 0 or (seen.depth or 0) >= policy.confirmations_min:",
        "    if policy.confirmations_min >= 0:",
        "tests/unit/scheduler/test_flusher_on_chain.py::test_each_entry_is_mined_once",
    ),
    Fault(
        "The clock jumps",
        "aoray/protocol/assignments.py",
        "now_ms if head is None else max(now_ms, head.timestamp + 1)",
        "now_ms",
        SIMULATION,
    ),
    Fault(
        "A layer-1 transaction is sent twice",
        "aoray/protocol/merkle.py",
        " and sha256(chunk).digest() == data_hash else None",
        " else None",
        "tests/unit/arweave/local/layer1/test_layer1_chunks.py::test_a_chunk_that_is_not_proven_is_refused_in_words",
    ),
    Fault(
        "A client reads a message",
        "aoray/arweave/local/recent.py",
        "        if self._unposted is None or not await self._unposted():",
        "        if True:",
        "tests/e2e/test_read_your_writes.py"
        "::test_what_is_acknowledged_is_read_at_once_by_its_id_and_by_searches",
    ),
    Fault(
        "A client sends an item again",
        "aoray/scheduler/ordering.py",
        "    return ordered.slots.get((submission.process_id, submission.message_id))",
        "    return None",
        "tests/e2e/test_load.py::test_an_item_posted_by_many_at_once_is_scheduled_once",
    ),
    Fault(
        "A driver on the Ray cluster",
        "aoray/gateway/core/ingress.py",
        "        verify(item)\n",
        "",
        "tests/e2e/test_driver.py::test_by_ray_it_is_as_by_http_and_no_check_is_left_out",
    ),
    Fault(
        "A messenger dies after a push",
        "aoray/outbox/attempts.py",
        "        return build(signer, target=spec.target, anchor=spec.anchor,",
        "        import os\n\n        return build(signer, target=spec.target, anchor=os.urandom(32),",
        "tests/e2e/test_tokens.py::test_tokens_are_conserved_when_everything_is_killed",
    ),
    Fault(
        "The target of a push is unreachable",
        "aoray/outbox/attempts.py",
        "    given_up = (attempt.foreign or attempt.absent) and attempts >= foreign_attempts_max",
        "    given_up = False",
        "tests/e2e/test_other_networks.py"
        "::test_what_another_network_refuses_is_dead_after_so_many_attempts_and_sent_by_hand",
    ),
    Fault(
        "A checkpoint is torn",
        "aoray/storage/checkpoints.py",
        "        if hashlib.sha256(data).hexdigest() != name:",
        "        if not name:",
        "tests/unit/storage/test_checkpoints.py::test_a_damaged_file_is_refused",
    ),
    Fault(
        "A process hibernates",
        "aoray/actors/evaluation.py",
        "        instance.restore(merged(parts))\n        state = instance.state()\n"
        "        if state.hash != row.state_hash:",
        "        state = instance.state()\n        if not state.hash:",
        "tests/e2e/test_hibernation.py::test_a_thousand_processes_hibernate_and_wake_with_their_counts",
    ),
    Fault(
        "The node was down when ticks",
        "aoray/scheduler/cron.py",
        "            missed=spawned.asked.missed,",
        '            missed="none",',
        "tests/e2e/test_crons.py::test_twenty_processes_tick_once_each_second_across_a_kill",
    ),
    Fault(
        "A key of the computer",
        "aoray/runtime/unit_keys.py",
        "    if missing:\n        whose",
        "    if not missing and missing:\n        whose",
        "tests/e2e/test_keys.py::test_a_lost_key_is_refused_and_restored_and_the_log_goes_on",
    ),
    Fault(
        "Somebody presents other content",
        "aoray/protocol/signatures/ed25519.py",
        "        if y in _SMALL_ORDER_Y:",
        "        if y < 0:",
        "tests/unit/protocol/signatures/test_ed25519.py::test_a_key_of_small_order_signs_nothing",
    ),
    Fault(
        "A result is disputed",
        "aoray/verify/rules.py",
        '        if signed not in ("", right):',
        '        if signed == "x":',
        "tests/e2e/test_attesting.py::test_every_result_is_attested_once_over_a_kill_and_a_forged_one_is_found",
    ),
    Fault(
        "A program traps, loops",
        "aoray/actors/evaluation.py",
        "        if not resident.takes_long:\n"
        "            outcome = resident.evaluator.attempt(message.message, resident.env)",
        "        outcome = resident.evaluator.evaluate(message.message, resident.env)",
        "tests/e2e/test_long_and_large.py"
        "::test_an_endless_loop_goes_on_and_its_neighbours_have_their_results",
    ),
    Fault(
        "A sender, an owner or a chain is forged",
        "aoray/execution/guest_input.py",
        '    vouched = first(item.tags, "Pushed-For") if item.address == messenger else None',
        '    vouched = first(item.tags, "Pushed-For")',
        "tests/e2e/test_forgery.py::test_a_claimed_chain_is_not_joined",
    ),
    Fault(
        "A sender, an owner or a chain is forged",
        "aoray/execution/guest_input.py",
        '    vouched = first(item.tags, "Pushed-For") if item.address == messenger else None',
        '    vouched = first(item.tags, "Pushed-For")',
        "tests/unit/execution/test_guest_input.py"
        "::test_a_pushed_message_continues_its_chain_and_a_wallets_claim_to_one_begins_its_own",
    ),
    Fault(
        "A sender, an owner or a chain is forged",
        "aoray/protocol/assignments.py",
        '        ("Hash-Chain", first(assignment.tags, "Hash-Chain"), chain),\n',
        "",
        "tests/unit/verify/test_verify.py::test_a_lie_is_found_and_named",
    ),
    Fault(
        "A sender, an owner or a chain is forged",
        "aoray/execution/guest_input.py",
        "    owner, sender = item.address, ",
        '    owner, sender = first(item.tags, "Owner") or item.address, ',
        "tests/e2e/test_forgery.py::test_owner_and_sender_are_the_signer_whatever_tags_say",
    ),
    Fault(
        "A stranger chooses text",
        "aoray/protocol/forms.py",
        '    if item.target:\n        return "has a target"\n',
        "",
        "tests/unit/protocol/test_statements.py::test_what_departs_from_the_form_of_a_statement_is_none",
    ),
    Fault(
        "A stranger chooses text",
        "aoray/protocol/cron.py",
        "*(Tag(PREFIX + name, value) for name, value in cron.tags))",
        "*cron.tags)",
        "tests/unit/protocol/test_statements.py"
        "::test_a_tick_is_a_tick_and_nothing_else_whatever_its_spawn_says",
    ),
    Fault(
        "Strangers put items on Arweave",
        "aoray/verify/rules.py",
        "    if not counts(facts.line, owner, timestamp, block):",
        "    if not owner:",
        "tests/unit/verify/test_verify_strangers.py::test_what_others_signed_is_counted_and_never_judged",
    ),
    Fault(
        "More requests arrive",
        "aoray/gateway/core/ingress.py",
        "        if late or queue.is_late(process_id):\n",
        "        if late and not late:\n",
        "tests/e2e/test_overload.py"
        "::test_what_is_over_the_bound_while_evaluation_stands_still_is_refused_and_the_rest_gets_its_result",
    ),
    Fault(
        "One process gets very many messages",
        "aoray/util/fair_queue.py",
        "        queue = self._queues.get(key)\n        own_count",
        '        key = ""\n        queue = self._queues.get(key)\n        own_count',
        "tests/e2e/test_fairness.py"
        "::test_a_message_is_ordered_in_the_next_batch_however_many_wait_for_another_process",
    ),
    Fault(
        "The machine fails",
        "aoray/vm/registry.py",
        "    except UnsupportedModule as error:\n        return RejectedProgram(error.message)",
        "    except Exception as error:\n        return RejectedProgram(str(error))",
        "tests/unit/actors/test_host_faults.py::test_a_fault_of_the_machine_is_never_a_result",
    ),
    Fault(
        "A slot gives another result",
        "aoray/actors/evaluation.py",
        "        if stored is not None and stored != result:",
        "        if stored is not None and not stored:",
        "tests/unit/actors/test_diverged.py"
        "::test_a_process_whose_results_differ_when_it_is_evaluated_again_is_stopped_alone",
    ),
    Fault(
        "The operator stops a process",
        "aoray/scheduler/ordering.py",
        "            or _refused(submission, stopped)\n",
        "",
        "tests/unit/scheduler/test_decisions.py"
        "::test_a_stopped_process_has_no_actor_and_gets_no_slot_over_a_restart_too",
    ),
    Fault(
        "A process sends without end",
        "aoray/outbox/push_quota.py",
        "        if wait_s:\n",
        "        if wait_s < 0:\n",
        "tests/unit/gateway/push/test_push_quota.py"
        "::test_a_process_that_feeds_itself_goes_on_at_its_rate_and_nothing_is_lost",
    ),
    Fault(
        "A computer, or `aoray verify`, lacks the package",
        "aoray/vm/registry.py",
        "    raise UnknownFormat(",
        "    raise UnsupportedModule(",
        "tests/unit/actors/test_virtual_machines.py"
        "::test_where_a_virtual_machine_is_missing_its_processes_wait_and_go_on_once_it_is_there",
    ),
)
