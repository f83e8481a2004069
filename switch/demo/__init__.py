"""The whole product on one machine: servers, keys, simulators, one issuer, the switch, and payments through it."""
