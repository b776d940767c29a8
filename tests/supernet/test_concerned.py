from .training import mlp


def test_a_field_concerns_the_layer_that_makes_its_units_and_those_that_take_them():
    net = mlp()
    assert {one.name for one in net.concerned("width 0")} == {"0.weight", "0.bias", "3.weight", "3.bias"}
    assert {one.name for one in net.concerned("width 3")} == {"3.weight", "3.bias", "5.weight", "5.bias"}
