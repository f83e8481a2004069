"""The HSM's commands measured: one call and batches, direct and through the HSM process, beside other libraries.

python -m benchmarks.hsm              the table, the scaling over processes, ratios
python -m benchmarks.hsm --soak       four clients for a minute with a key rotation in the middle
"""
