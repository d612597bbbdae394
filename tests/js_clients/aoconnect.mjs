// The field's own client against a running computer: @permaweb/aoconnect 0.0.98 in legacy mode, unmodified.
//
// node aoconnect.mjs JSON, where JSON is {"mu", "cu", "gateway", "module", "scheduler", "authority", "aos"}: where the
// units answer, what /health says, and the file of an aos module. The wallet is a new Arweave one, as people's are.
// Every reply's content is asserted; the last line printed is a JSON object that says what was done.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { ArweaveSigner, createData } from '@dha-team/arbundles'
import { connect, createDataItemSigner } from '@permaweb/aoconnect'
import Arweave from 'arweave'

const setup = JSON.parse(process.argv[2])
const wallet = await Arweave.init({}).wallets.generate()
const signer = createDataItemSigner(wallet)
const ao = connect({ MODE: 'legacy', MU_URL: setup.mu, CU_URL: setup.cu, GATEWAY_URL: setup.gateway, noLog: true })

const ID = /^[A-Za-z0-9_-]{43}$/
const MESSAGES = 100
const PAGE = 17
const ROUNDS = 20
const POLLS_MAX = 600
const POLL_MS = 50

const PROGRAM = `
Total, Pongs = 0, 0
Handlers.add("add", "Add", function(msg)
  Total = Total + math.tointeger(tonumber(msg.Tags.Quantity))
  msg.reply({ Action = "Added", Total = tostring(Total), Data = msg.Data .. "!" })
  print("total " .. Total)
end)
Handlers.add("total", "Total", function() print(tostring(Total)) end)
Handlers.add("pong", "Pong", function(msg)
  Pongs = Pongs + 1
  local left = math.tointeger(tonumber(msg.Left))
  if left > 0 then Send({ Target = msg.Tags.Partner or msg.From, Action = "Pong", Left = tostring(left - 1) }) end
end)
Handlers.add("pongs", "Pongs", function() print(tostring(Pongs)) end)
ao.addAssignable({ Action = "Add" })
`

const tagOf = (tags, name) => tags.find((tag) => tag.name === name)?.value
const tag = (name, value) => ({ name, value })

async function publish (file, format) {
  const tags = [
    tag('Data-Protocol', 'ao'), tag('Variant', 'ao.TN.1'), tag('Type', 'Module'), tag('Module-Format', format),
    tag('Input-Encoding', 'JSON-1'), tag('Output-Encoding', 'JSON-1'), tag('Memory-Limit', '1-gb'),
    tag('Compute-Limit', '9000000000000'), tag('Content-Type', 'application/wasm')
  ]
  const arweaveSigner = new ArweaveSigner(wallet)
  const item = createData(readFileSync(file), arweaveSigner, { tags })
  await item.sign(arweaveSigner)
  const reply = await fetch(`${setup.gateway}/tx`, {
    method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: item.getRaw()
  })
  assert.ok(reply.ok, `${reply.status}: ${await reply.clone().text()}`)
  assert.equal((await reply.json()).id, item.id)
  return item.id
}

async function spawn (module) {
  const tags = [tag('Authority', setup.authority), tag('Name', 'tester'), tag('On-Boot', 'Data')]
  const id = await ao.spawn({ module, scheduler: setup.scheduler, signer, tags, data: PROGRAM })
  assert.match(id, ID)
  const boot = await ao.result({ process: id, message: id })
  assert.equal(boot.Error, undefined)
  assert.equal(boot.Output.data, '')
  return id
}

async function evaluate (process, code) {
  const message = await ao.message({ process, signer, tags: [tag('Action', 'Eval')], data: code })
  assert.match(message, ID)
  return ao.result({ process, message })
}

async function sendMany (process) {
  const sent = []
  let total = 0
  for (let number = 1; number <= MESSAGES; number++) {
    total += number
    const tags = [tag('Action', 'Add'), tag('Quantity', `${number}`), tag('Reference', `r${number}`)]
    const message = await ao.message({ process, signer, tags, data: `data ${number}` })
    const result = await ao.result({ process, message })
    checkAdded(result, number, total)
    sent.push({ message, total })
  }
  return sent
}

function checkAdded (result, number, total) {
  assert.equal(result.Error, undefined)
  assert.equal(result.Output.data, `total ${total}`)
  assert.equal(result.Output.print, true)
  assert.match(result.Output.prompt, /tester/)
  assert.deepEqual(result.Spawns, [])
  assert.equal(result.Messages.length, 1)
  const [reply] = result.Messages
  assert.equal(reply.Data, `data ${number}!`)
  assert.equal(tagOf(reply.Tags, 'Action'), 'Added')
  assert.equal(tagOf(reply.Tags, 'Total'), `${total}`)
  assert.equal(tagOf(reply.Tags, 'X-Reference'), `r${number}`)
  assert.equal(tagOf(reply.Tags, 'Type'), 'Message')
}

async function page (process, sort) {
  const outputs = []
  const cursors = new Set()
  let from
  while (true) {
    const { edges } = await ao.results({ process, sort, limit: PAGE, from })
    assert.ok(edges.length <= PAGE)
    for (const { node, cursor } of edges) {
      assert.ok(!cursors.has(cursor), 'a cursor came twice')
      cursors.add(cursor)
      const { ordinate } = JSON.parse(atob(cursor))
      outputs.push({ data: node.Output.data, ordinate: Number(ordinate), messages: node.Messages })
    }
    if (edges.length < PAGE || sort === 'DESC') return outputs
    from = edges.at(-1).cursor
  }
}

async function checkPages (process, sent) {
  const rising = (await page(process, 'ASC')).filter(({ data }) => data.startsWith('total '))
  assert.deepEqual(rising.map(({ data }) => data), sent.map(({ total }) => `total ${total}`))
  assert.deepEqual(rising.map(({ ordinate }) => ordinate), rising.map((_, index) => rising[0].ordinate + index))
  assert.ok(rising.every(({ messages }) => messages.length === 1))
  const falling = (await page(process, 'DESC')).filter(({ data }) => data.startsWith('total '))
  assert.ok(falling.length > 0)
  assert.deepEqual(falling, rising.reverse().slice(0, falling.length))
  return rising.length
}

async function ask (process, action) {
  const result = await ao.dryrun({ process, tags: [tag('Action', action)], data: '' })
  assert.equal(result.Error, undefined)
  return result.Output.data
}

async function checkDryrun (process, total) {
  const tags = [tag('Action', 'Add'), tag('Quantity', '5')]
  const first = await ao.dryrun({ process, tags, data: 'dry', Owner: setup.authority })
  assert.equal(first.Output.data, `total ${total + 5}`)
  assert.equal(first.Messages[0].Target, setup.authority)
  assert.equal(first.Messages[0].Data, 'dry!')
  const second = await ao.dryrun({ process, tags, data: 'dry' })
  assert.equal(second.Output.data, `total ${total + 5}`, 'a dry run left a trace')
  assert.equal(await ask(process, 'Total'), `${total}`)
}

async function checkAssign (process, other, { message }) {
  const before = Number(await ask(other, 'Total'))
  const assignment = await ao.assign({ process: other, message })
  assert.match(assignment, ID)
  assert.notEqual(assignment, message)
  const result = await ao.result({ process: other, message: assignment })
  assert.equal(result.Error, undefined)
  assert.equal(result.Output.data, `total ${before + 1}`)
  assert.equal(tagOf(result.Messages[0].Tags, 'Total'), `${before + 1}`)
  assert.equal(await ask(other, 'Total'), `${before + 1}`)
}

async function pingPong (one, other) {
  const start = { [one]: Number(await ask(one, 'Pongs')), [other]: Number(await ask(other, 'Pongs')) }
  const tags = [tag('Action', 'Pong'), tag('Left', `${2 * ROUNDS - 1}`), tag('Partner', other)]
  const message = await ao.message({ process: one, signer, tags })
  const result = await ao.result({ process: one, message })
  assert.equal(result.Messages[0].Target, other)
  for (const id of [one, other]) {
    const expected = start[id] + ROUNDS * (one === other ? 2 : 1)
    assert.equal(await settled(id, expected), expected)
  }
}

// Pushed messages have ids that no client call names, so their effect is asked for until it is there.
async function settled (id, expected) {
  for (let poll = 0; poll < POLLS_MAX; poll++) {
    if (Number(await ask(id, 'Pongs')) >= expected) break
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
  return Number(await ask(id, 'Pongs'))
}

async function checkErrors (id) {
  const failed = await evaluate(id, 'error("on purpose")')
  assert.match(failed.Error, /on purpose/)
  assert.equal((await evaluate(id, '1 + 1')).Output.data, '2')
  await assert.rejects(ao.message({ process: 'A'.repeat(43), signer, data: 'x' }), /404/)
}

async function main () {
  const aos = await publish(setup.aos, 'wasm64-unknown-emscripten-draft_2024_02_15')
  const done = { aos, paged: {}, processes: {} }
  for (const [name, module] of [['lua', setup.module], ['aos', aos]]) {
    const process = await spawn(module)
    const sent = await sendMany(process)
    done.paged[name] = await checkPages(process, sent)
    await checkDryrun(process, sent.at(-1).total)
    await checkErrors(process)
    const other = await spawn(module)
    await checkAssign(process, other, sent[0])
    await pingPong(process, other)
    done.processes[name] = process
  }
  await pingPong(done.processes.lua, done.processes.aos)
  console.log(JSON.stringify({ ...done, messages: MESSAGES, rounds: ROUNDS }))
}

await main()
