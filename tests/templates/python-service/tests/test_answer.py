from orders import answer


def test_health_is_well():
    assert answer("/health") == (200, "ok\n")


def test_what_is_not_there_is_not_found():
    assert answer("/nothing")[0] == 404
