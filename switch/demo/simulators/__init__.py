"""The simulators as a product of their own: UnionPay's network, Alipay, WeChat Pay and a direct issuer, in one process.

They know two clients of each kind: the switch, whose private keys are in its HSM, and an independent one, whose keys
lie in files for any SDK to use (`identity`). docs/simulators.md shows how such a client starts.
"""
