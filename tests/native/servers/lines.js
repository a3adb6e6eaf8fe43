// A server of lines with Node's `net`: node lines.js PORT
require('net').createServer(client => {
  client.on('error', () => {});
  client.write(JSON.stringify({ pid: process.pid, peer: [client.remoteAddress, client.remotePort] }) + '\n');
  client.pipe(client);
}).listen(Number(process.argv[2]), '127.0.0.1');
