// The npm package `arlocal`, an Arweave node that mines when it is told to.
// node arlocal.mjs PORT FOLDER → "ready" once it answers; FOLDER keeps its chain, also over kill -9.
import imported from 'arlocal'

const ArLocal = imported.default ?? imported
const [port, folder] = process.argv.slice(2)
await new ArLocal(Number(port), false, folder, true).start()
console.log('ready')
