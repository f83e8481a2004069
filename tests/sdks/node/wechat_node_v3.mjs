// wechatpay-node-v3 in certificate mode. Its URLs are fixed: its HTTP service sends them to another host.
import crypto from 'node:crypto';
import Pay from 'wechatpay-node-v3';
import { PayRequest } from 'wechatpay-node-v3/dist/lib/pay-request.js';
import { control, given, openDoor, pause } from './wechat_door.mjs';

const HOST = 'https://api.mch.weixin.qq.com';
const to = await given();
const door = await openDoor();

class Elsewhere extends PayRequest {
  get(url, headers) { return super.get(url.replace(HOST, to.base_url), headers); }

  post(url, params, headers) { return super.post(url.replace(HOST, to.base_url), params, headers); }
}

const pay = new Pay({
  appid: to.appid, mchid: to.mchid, serial_no: to.serial_no, publicKey: Buffer.from(to.merchant_certificate),
  privateKey: Buffer.from(to.private_key), key: to.apiv3_key,
});
pay.createHttp(new Elsewhere());
const number = () => `P${crypto.randomBytes(12).toString('hex')}`;
const order = (changes) => ({
  description: '小店', out_trade_no: number(), amount: { total: 1234 }, notify_url: door.url, ...changes,
});

async function opened({ headers, body }) {
  const signed = {
    timestamp: headers['wechatpay-timestamp'], nonce: headers['wechatpay-nonce'], serial: headers['wechatpay-serial'],
    signature: headers['wechatpay-signature'],
  };
  const verified = await pay.verifySign({ ...signed, body });
  const forged = await pay.verifySign({ ...signed, body: `${body} ` });
  const { event_type, resource } = JSON.parse(body);
  const plain = pay.decipher_gcm(resource.ciphertext, resource.associated_data, resource.nonce);
  return [verified, forged, event_type, plain.trade_state || plain.refund_status];
}

const told = {};
try {
  told.serials = (await pay.get_certificates(to.apiv3_key)).map((each) => each.serial_no);
  const native = order();
  const { data: { code_url } } = await pay.transactions_native(native);
  told.unpaid = (await pay.query({ out_trade_no: native.out_trade_no })).data.trade_state;
  await control(to.control_url, 'scan', { code_url });
  told.notified = await opened(await door.next());
  const { data: paid } = await pay.query({ out_trade_no: native.out_trade_no });
  told.paid = paid.trade_state;
  told.by_id = (await pay.query({ transaction_id: paid.transaction_id })).data.out_trade_no === native.out_trade_no;
  const out_refund_no = number();
  const refund = await pay.refunds({
    out_trade_no: native.out_trade_no, out_refund_no, amount: { refund: 234, total: 1234, currency: 'CNY' },
  });
  await pause(100);
  told.refund = [refund.data.status, (await pay.find_refunds(out_refund_no)).data.status];
  const unpaid = order();
  await pay.transactions_native(unpaid);
  told.closed = (await pay.close(unpaid.out_trade_no)).status;
  told.prepaid = [
    Object.keys((await pay.transactions_h5(order({ scene_info: { payer_client_ip: '1.2.3.4', h5_info: { type: 'Wap' } } }))).data)[0],
    (await pay.transactions_app(order())).data.partnerid,
    (await pay.transactions_jsapi(order({ payer: { openid: 'oUpF8uMuAJO_M2pxb1Q9zNjWeS6o' } }))).data.package.slice(0, 12),
  ];
  told.bills = [];
  for (const ask of [pay.tradebill({ bill_date: to.today }), pay.fundflowbill({ bill_date: to.today })]) {
    const { data: { download_url, hash_value } } = await ask;
    const { data: text } = await pay.downloadBill(download_url.replace(to.base_url, HOST));
    told.bills.push(crypto.createHash('sha1').update(text).digest('hex') === hash_value);
  }
  told.missing = JSON.parse((await pay.query({ out_trade_no: 'none' })).error).code;
  console.log(JSON.stringify(told));
} finally {
  door.close();
}
