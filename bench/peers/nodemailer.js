// nodemailer.js OPTIONS - a campaign by nodemailer: its pool, its own rendering and signing. OPTIONS is JSON: library, host,
// port, connections, tls, key, list, body. The list is what bench/inject takes; the body has {{name}} in it.
//
// Nothing here is durable: there is no queue, no record of who was sent to, and what is under way at a crash is not known
// afterwards. So it is the least that sending can cost with JavaScript, not what a campaign of a company needs.
'use strict';
const fs = require('fs');

const options = JSON.parse(process.argv[2]);
const nodemailer = require(options.library);

const transport = nodemailer.createTransport({
  host: options.host,
  port: options.port,
  name: 'sender.bench.test',
  pool: true, // connections are kept
  maxConnections: options.connections,
  maxMessages: Infinity, // on one connection; its default is 100
  ignoreTLS: !options.tls, // where there is none: STARTTLS is not tried though offered
  requireTLS: options.tls,
  tls: { rejectUnauthorized: false }, // the receiver's certificate is nobody's
  // Its signature is made over what it streams; relaxed/relaxed is what it has. Nothing is cached on disk (cacheDir).
  dkim: options.key ? { domainName: 'bench.test', keySelector: 's1', privateKey: fs.readFileSync(options.key, 'utf8') }
    : undefined,
});

const rows = fs.readFileSync(options.list, 'utf8').split('\n').slice(1).filter(Boolean).map((line) => line.split(','));
const body = fs.readFileSync(options.body, 'utf8');
let next = 0;
let answered = 0;
let failed = 0;

function send(email, name) {
  transport.sendMail({
    from: 'Bench <news@bench.test>',
    to: email,
    subject: 'News for ' + name,
    text: body.replaceAll('{{name}}', name),
    messageId: '<' + email + '>',
    list: { unsubscribe: 'https://u.bench.test/?' + email, id: 'news.bench.test' },
    headers: { 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click' },
    envelope: { from: 'bounce@bounce.bench.test', to: email },
    disableFileAccess: true,
    disableUrlAccess: true,
  }, (error) => {
    if (error) {
      failed++;
      console.error(email + ': ' + error.message);
    }
    if (++answered === rows.length) {
      transport.close();
    }
  });
}

// As its documentation does it: more is given whenever the pool has room, so that memory is bounded.
transport.on('idle', () => {
  while (next < rows.length && transport.isIdle()) {
    send(...rows[next++]);
  }
});
process.on('exit', () => {
  process.exitCode = failed ? 1 : 0;
});
