"""payswitch: the authorization switch. `switch/payments` is the road of one authorization; start there."""
