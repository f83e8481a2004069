"""The gRPC servicers: the only code of the switch that knows the protobuf stubs. Errors map to gRPC in `errors`."""
