// Cron by the field's own client: @permaweb/aoconnect spawns a process with a Cron-Interval, monitors it, and stops it.
//
// node monitor.mjs JSON, where JSON is {"mu", "cu", "gateway", "scheduler", "authority", "modules": {name: id}}. Every reply
// is asserted; the last line printed is a JSON object that says how many ticks each process had.
import assert from 'node:assert/strict'
import { connect, createDataItemSigner, serializeCron } from '@permaweb/aoconnect'
import Arweave from 'arweave'

const setup = JSON.parse(process.argv[2])
const arweave = Arweave.init({})
const wallet = await arweave.wallets.generate()
const signer = createDataItemSigner(wallet)
const ao = connect({ MODE: 'legacy', MU_URL: setup.mu, CU_URL: setup.cu, GATEWAY_URL: setup.gateway, noLog: true })

const ID = /^[A-Za-z0-9_-]{43}$/
const TICKS = 3
const POLLS_MAX = 1200
const POLL_MS = 50

const PROGRAM = `
Ticks = 0
Handlers.add("tick", function(msg) return msg.Action == "Tick" end, function(msg)
  assert(msg.Cron and msg.From == Owner and msg.Nonce and msg.Tags.Kind == "test")
  Ticks = Ticks + 1
  print("tick " .. Ticks)
end)
Handlers.add("count", function(msg) return msg.Action == "Count" end, function() print(tostring(Ticks)) end)
`
const tag = (name, value) => ({ name, value })
const pause = () => new Promise((resolve) => setTimeout(resolve, POLL_MS))
const get = async (url) => (await fetch(url)).json()
const ticksOf = async (id) => (await get(`${setup.cu}/cron/${id}`)).edges
const count = async (id) => {
  const result = await ao.dryrun({ process: id, tags: [tag('Action', 'Count')] })
  return Number(result.Output.data)
}

async function spawn (module, interval) {
  const cron = serializeCron({ interval, tags: [tag('Action', 'Tick'), tag('Kind', 'test')] })
  const tags = [tag('Authority', setup.authority), ...cron]
  return ao.spawn({ module, scheduler: setup.scheduler, signer, tags })
}

async function tickedTo (id, number) {
  for (let poll = 0; poll < POLLS_MAX; poll++) {
    if ((await ticksOf(id)).length >= number) return
    await pause()
  }
  assert.fail(`no ${number} ticks`)
}

async function check (module) {
  const id = await spawn(module, '1-second')
  const loaded = await ao.message({ process: id, signer, tags: [tag('Action', 'Eval')], data: PROGRAM })
  assert.equal((await ao.result({ process: id, message: loaded })).Error, undefined)
  assert.deepEqual(await ticksOf(id), [])
  assert.match(await ao.monitor({ process: id, signer }), ID)
  await assert.rejects(ao.monitor({ process: id, signer }), /already being monitored/)
  await tickedTo(id, TICKS)
  assert.match(await ao.unmonitor({ process: id, signer }), ID)
  await assert.rejects(ao.unmonitor({ process: id, signer }), /monitor not found/)
  const ticks = await count(id)
  const outputs = (await ticksOf(id)).map(({ node }) => node.Output.data)
  assert.deepEqual(outputs, outputs.map((_, index) => `tick ${index + 1}`))
  assert.equal(outputs.length, ticks)
  assert.deepEqual((await ao.results({ process: id, limit: 100 })).edges.map(({ node }) => node.Output.data).slice(-ticks), outputs)
  const begin = Date.now()
  while (Date.now() - begin < 2000) await pause()
  assert.equal(await count(id), ticks, 'it ticked on')
  return ticks
}

const done = {}
for (const [name, module] of Object.entries(setup.modules)) done[name] = await check(module)
const [module] = Object.values(setup.modules)
await assert.rejects(spawn(module, '1-month'), /400.*Cron-Interval/)
console.log(JSON.stringify(done))
