"""What a result sends, and what came of sending it. Pure.

The way of an outbox, in the order in which it is read: `entries` makes specifications of what a guest wrote,
`attempts` gives each its place, its signed item and its end, `push_quota` says whether the process may send
now. Who carries it out: `actors/direct_push` what goes to processes of this computer, and of all the rest
`gateway/push/pusher` the results and `gateway/push/deliverer` a single message.
"""
