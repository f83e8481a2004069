"""`payswitch messages send`: takes users' messages from a running switch, and delivers them by e-mail or a hook."""
