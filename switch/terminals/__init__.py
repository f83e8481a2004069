"""The door for payment terminals: UnionPay's POS dialect over TCP, in front of the same road as gRPC."""
