"""Users: who they are, their devices, cards and payment codes. Policy; what is stored is `switch.store`'s."""
