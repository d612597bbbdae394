// The same messages through @permaweb/ao-loader: one process, evaluation alone, without HTTP, signatures, order, or
// disk. All memory goes in and comes out with each message, as a compute unit made of it does.
// node --experimental-wasm-memory64 peers_loader.mjs WASM PROGRAM MESSAGES
import { readFileSync } from 'node:fs'
import AoLoader from '@permaweb/ao-loader'

const [file, program, count] = process.argv.slice(2)
const handle = await AoLoader(readFileSync(file), {
  format: 'wasm64-unknown-emscripten-draft_2024_02_15',
  inputEncoding: 'JSON-1',
  outputEncoding: 'JSON-1',
  memoryLimit: '1073741824',
  computeLimit: '9000000000000',
  extensions: []
})
const owner = 'O'.repeat(43)
const id = 'P'.repeat(43)
const tag = (name, value) => ({ name, value })
const env = {
  Process: { Id: id, Owner: owner, Tags: [tag('Authority', owner), tag('Data-Protocol', 'ao'), tag('Name', 'peer')] },
  Module: { Id: 'M'.repeat(43), Tags: [] }
}
const message = (nonce, action, data) => ({
  Id: String(nonce).padStart(43, 'M'), Target: id, Owner: owner, From: owner, Module: env.Module.Id, Data: data,
  'Block-Height': '1', Timestamp: String(1700000000000 + nonce), Cron: false,
  Tags: [tag('Data-Protocol', 'ao'), tag('Variant', 'ao.TN.1'), tag('Type', 'Message'), tag('Action', action)]
})

const boot = message(0, 'Boot', program)
boot.Id = id
boot.Tags = [...env.Process.Tags, tag('Type', 'Process'), tag('On-Boot', 'Data')]
let { Memory } = await handle(null, boot, env)
const began = performance.now()
const cpu = process.cpuUsage()
const took = []
for (let nonce = 1; nonce <= Number(count); nonce++) {
  const start = performance.now()
  const result = await handle(Memory, message(nonce, 'Ping', ' '), env)
  if (result.Error || !JSON.stringify(result.Output).includes('pong')) throw new Error(JSON.stringify(result.Output))
  Memory = result.Memory
  took.push((performance.now() - start) / 1000)
}
const wall = (performance.now() - began) / 1000
const { user, system } = process.cpuUsage(cpu)
console.log(JSON.stringify({ wall, cpu: (user + system) / 1e6, took }))
