"""The platform's story: a merchant, a payer, their payments, the day's end. The demo and a test play the same one."""
