"""UnionPay's POS-terminal dialect: the second face of the adapter, towards terminals that connect to the switch."""
