// Alipay's own Node client (alipay-sdk), unpatched: calls and checks that a test asks for, one JSON line each way.
//
// stdin: {"config": AlipaySdkConfig, "calls": [{"method", "params", "validateSign"}], "notifications": [form, …],
// "encrypted": {"method", "bizContent"}}. stdout: {"answers": [answer or {"error"}], "verified": [[v1, v2], …],
// "encrypted": {"signed", "answer"}}.
import { AlipaySdk } from 'alipay-sdk';

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const asked = JSON.parse(Buffer.concat(chunks).toString());
const sdk = new AlipaySdk(asked.config);

const answers = [];
for (const { method, params } of asked.calls ?? []) {
  try {
    // It cannot verify an encrypted answer: it looks for a brace. `encrypted` below does it with its own functions.
    answers.push(await sdk.exec(method, params, { validateSign: !params.needEncrypt }));
  } catch (error) {
    answers.push({ error: String(error.message) });
  }
}

const verified = (asked.notifications ?? []).map(form => [sdk.checkNotifySign(form), sdk.checkNotifySignV2(form)]);

let encrypted = null;
if (asked.encrypted) {
  const { method, bizContent } = asked.encrypted;
  const body = sdk.sdkExecute(method, { bizContent, needEncrypt: true });
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const response = await fetch(asked.config.gateway, { method: 'POST', body, headers });
  const answer = JSON.parse(await response.text());
  const value = answer[`${method.replaceAll('.', '_')}_response`];
  encrypted = { signed: sdk.rsaCheck(`"${value}"`, answer.sign), answer: JSON.parse(sdk.aesDecrypt(value)) };
}

process.stdout.write(JSON.stringify({ answers, verified, encrypted }));
