from benchmarks.passwords import Parameters, measure, report


def test_it_measures_what_it_prints() -> None:
    tiny, small = Parameters("tiny", 8, 1, 1), Parameters("small", 4096, 2, 1)
    head, *lines = report((tiny, small), rounds=1, run=measure)
    assert head.split()[0] == "parameters"
    assert [line.split()[:2] for line in lines] == [["tiny", "8"], ["small", "4096"]]
    assert measure(small, rounds=3).cpu_ms > measure(tiny, rounds=3).cpu_ms
