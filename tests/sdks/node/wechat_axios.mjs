// wechatpay-axios-plugin, API v3 and v2. Only its baseURL is another; it verifies every answer itself.
import crypto from 'node:crypto';
import https from 'node:https';
import zlib from 'node:zlib';
import { readFileSync } from 'node:fs';
import sdk from 'wechatpay-axios-plugin';
import { control, given, openDoor, pause } from './wechat_door.mjs';

const { Wechatpay, Aes, Rsa, Formatter } = sdk;
const to = await given();
const door = await openDoor();
const certs = to.mode === 'certificate'
  ? { [to.certificate_serial_no]: to.certificate } : { [to.public_key_id]: to.public_key };
const pay = new Wechatpay({
  mchid: to.mchid, serial: to.serial_no, privateKey: to.private_key, certs, secret: to.v2_key,
  baseURL: to.base_url,
  ...(to.ca_file ? { httpsAgent: new https.Agent({ ca: readFileSync(to.ca_file) }) } : {}),
  ...(to.mode === 'certificate' ? {} : { headers: { 'Wechatpay-Serial': to.public_key_id } }),
});
const ids = { appid: to.appid, mchid: to.mchid };
const number = () => `N${crypto.randomBytes(12).toString('hex')}`;
const refusal = (call) => call.then(() => 'accepted', ({ response: { status, data } }) => [status, data.code || data.err_code]);
const order = (changes) => ({ ...ids, description: '小店', out_trade_no: number(), amount: { total: 1234 }, ...changes });
const byCode = (code, changes) => order({
  payer: { auth_code: code }, scene_info: { store_info: { id: '0001' } }, ...changes,
});

async function v3() {
  const told = {};
  const transactions = pay.v3.pay.transactions;
  const asked = byCode(to.codes.approve);
  const { data: paid } = await transactions.codepay.post(asked);
  told.paid = [paid.trade_state, paid.amount.total];
  const query = { params: { mchid: to.mchid } };
  const { data: found } = await transactions.outTradeNo._out_trade_no_.get({ ...query, out_trade_no: asked.out_trade_no });
  const { data: same } = await transactions.id._transaction_id_.get({ ...query, transaction_id: paid.transaction_id });
  told.queries_agree = JSON.stringify(found) === JSON.stringify(same) && found.trade_state === 'SUCCESS';
  told.insufficient = await refusal(transactions.codepay.post(byCode(to.codes.insufficient_funds)));
  told.user_paying = (await transactions.codepay.post(byCode(to.codes.user_paying))).data.trade_state;

  const reversed = byCode(to.codes.approve);
  await transactions.codepay.post(reversed);
  const undone = { out_trade_no: reversed.out_trade_no };
  told.reversed = (await transactions.outTradeNo._out_trade_no_.reverse.post(ids, undone)).status;
  told.after_reversal = (await transactions.outTradeNo._out_trade_no_.get({ ...query, ...undone })).data.trade_state;

  const native = order({ notify_url: door.url });
  const { data: { code_url } } = await transactions.native.post(native);
  await control(to.control_url, 'scan', { code_url });
  told.notified = opened(await door.next());
  const refund = { out_trade_no: native.out_trade_no, out_refund_no: number(), notify_url: door.url };
  const amount = { refund: 1000, total: 1234, currency: 'CNY' };
  told.refund = (await pay.v3.refund.domestic.refunds.post({ ...refund, amount })).data.status;
  told.refund_notified = opened(await door.next());
  told.refund_query = (await pay.v3.refund.domestic.refunds._out_refund_no_.get({ out_refund_no: refund.out_refund_no })).data.status;

  const unpaid = order({ notify_url: door.url });
  await transactions.native.post(unpaid);
  const closed = await transactions.outTradeNo._out_trade_no_.close.post({ mchid: to.mchid }, { out_trade_no: unpaid.out_trade_no });
  told.closed = [closed.status, closed.data];
  told.prepaid = [];
  for (const [way, changes] of [
    ['jsapi', { payer: { openid: 'oUpF8uMuAJO_M2pxb1Q9zNjWeS6o' } }], ['app', {}],
    ['h5', { scene_info: { payer_client_ip: '1.2.3.4', h5_info: { type: 'Wap' } } }],
  ]) told.prepaid.push(Object.keys((await transactions[way].post(order({ notify_url: door.url, ...changes }))).data)[0]);

  told.bills = [];
  for (const [bill, kind] of [[pay.v3.bill.tradebill, { bill_type: 'ALL' }], [pay.v3.bill.fundflowbill, { account_type: 'BASIC' }]]) {
    const { data: offer } = await bill.get({ params: { bill_date: to.today, tar_type: 'GZIP', ...kind } });
    const { pathname, searchParams } = new URL(offer.download_url);
    const { data: packed } = await pay.client.v3.get(pathname, { params: searchParams, responseType: 'arraybuffer' });
    const plain = zlib.gunzipSync(packed);
    const { rows, summary } = Formatter.castCsvBill(plain);
    told.bills.push([crypto.createHash('sha1').update(plain).digest('hex') === offer.hash_value, rows.length, summary]);
  }
  const { data: { data: [listed] } } = await pay.v3.certificates.get();
  const { nonce, associated_data: aad, ciphertext } = listed.encrypt_certificate;
  told.certificate = Aes.AesGcm.decrypt(ciphertext, to.apiv3_key, nonce, aad) === to.certificate;
  return told;
}

function opened({ headers, body }) {
  const text = Formatter.response(headers['wechatpay-timestamp'], headers['wechatpay-nonce'], body);
  const key = certs[headers['wechatpay-serial']];
  const verified = Rsa.verify(text, headers['wechatpay-signature'], Rsa.from(key, Rsa.KEY_TYPE_PUBLIC));
  const forged = Rsa.verify(`${text}x`, headers['wechatpay-signature'], Rsa.from(key, Rsa.KEY_TYPE_PUBLIC));
  const { event_type, resource: { nonce, associated_data: aad, ciphertext } } = JSON.parse(body);
  const resource = JSON.parse(Aes.AesGcm.decrypt(ciphertext, to.apiv3_key, nonce, aad));
  return [verified, forged, event_type, resource.trade_state || resource.refund_status];
}

async function v2() {
  const told = {};
  const common = { appid: to.appid, mch_id: to.mchid };
  const micropay = (code, more) => pay.v2.pay.micropay({
    ...common, body: '小店 & <co>', out_trade_no: number(), total_fee: 500, spbill_create_ip: '1.2.3.4', auth_code: code, ...more,
  });
  told.paid = [];
  for (const sign_type of ['MD5', 'HMAC-SHA256']) {
    const { data: paid } = await micropay(to.codes.approve, { sign_type });
    const { data: found } = await pay.v2.pay.orderquery({ ...common, out_trade_no: paid.out_trade_no, sign_type });
    told.paid.push([paid.sign.length, found.trade_state, found.transaction_id === paid.transaction_id]);
  }
  told.insufficient = await refusal(micropay(to.codes.insufficient_funds));
  told.user_paying = await refusal(micropay(to.codes.user_paying));
  const { data: { out_trade_no } } = await micropay(to.codes.approve);
  const out_refund_no = number();
  await pay.v2.secapi.pay.refund({ ...common, out_trade_no, out_refund_no, total_fee: 500, refund_fee: 200 }, { security: true });
  await pause(100);
  told.refund = (await pay.v2.pay.refundquery({ ...common, out_refund_no })).data.refund_status_0;
  const { data: { out_trade_no: undone } } = await micropay(to.codes.approve);
  told.recall = (await pay.v2.secapi.pay.reverse({ ...common, out_trade_no: undone }, { security: true })).data.recall;
  return told;
}

try {
  console.log(JSON.stringify({ v3: await v3(), v2: await v2() }));
} finally {
  door.close();
}
