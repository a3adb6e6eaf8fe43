// A web server with Node's `http`: node web.js PORT.  Without a host, it listens on [::] for IPv4 as well.
require('http').createServer((request, response) => {
  const { remoteAddress, remotePort } = request.socket;
  response.end(JSON.stringify({ pid: process.pid, peer: [remoteAddress, remotePort] }));
}).listen(Number(process.argv[2]));
