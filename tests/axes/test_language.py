"""Tables that people write."""

import pytest
import torch

from loomweight import Weights
from loomweight.errors import BadParameter, NamesDiffer, ShapesDiffer
from loomweight.weights.axes import Axes, Layout, Space, axes, table_for, verify


def shaped(**shapes: tuple[int, ...]) -> Weights:
    return Weights.of({name.replace("__", "."): torch.zeros(shape) for name, shape in shapes.items()})


def test_sizes_follow_from_shapes() -> None:
    text = "conv : maps <- 3 _ _\nfc : hidden <- (maps 4)\nout : 2 <- (hidden + maps)\nstep : ..."
    table = table_for(text, shaped(conv=(5, 3, 2, 2), fc=(7, 20), out=(2, 12), step=(1, 9)))
    assert {name: space.size for name, space in table.spaces.items()} == {"maps": 5, "hidden": 7}
    assert table.layouts["out"] == Layout((((2,),), (("hidden",), ("maps",))), 1)
    assert table.layouts["step"] == Layout((((1,),), ((9,),)))


def test_stars_stand_for_the_same_part_again() -> None:
    text = "*.*.up : *.*.hidden <- model\n*.*.down : model <- *.*.hidden\nmodel = 4"
    table = table_for(text, shaped(a__0__up=(5, 4), a__0__down=(4, 5), b__1__up=(6, 4), b__1__down=(4, 6)))
    assert {name: space.size for name, space in table.spaces.items()} == {"model": 4, "a.0.hidden": 5, "b.1.hidden": 6}


def test_the_first_line_that_matches_decides_and_comments_are_none() -> None:
    table = table_for("# a table\nlast.* : 3  # stays\n*.* : units", shaped(last__bias=(3,), first__bias=(5,)))
    assert table.expected("last.bias") == (3,)
    assert table.spaces["units"].size == 5


def nested(*layers: tuple[int, int]) -> Axes:
    names = [f"block.{i}.layer.{j}" for i, j in layers]
    spaces = {name: Space(name, 4) for name in names}
    return Axes(spaces, {f"{name}.w": Layout((((name,),),)) for name in names})


@pytest.mark.parametrize(
    "layers",
    [[(0, 0), (1, 0), (2, 0)], [(0, 0), (0, 1), (1, 0), (1, 1)], [(1, 1), (2, 2)], [(0, 1), (1, 0)], [(11, 1), (1, 11), (1, 1)]],
    ids=str,
)
def test_compressed_lines_say_the_same(layers: list[tuple[int, int]]) -> None:
    table = nested(*layers)
    text = str(table)
    assert table_for(text, Weights.of({name: torch.zeros(4) for name in table.layouts})) == table


def test_alike_layers_are_one_line() -> None:
    spaces = {f"h.{i}.mlp": Space(f"h.{i}.mlp", 3) for i in range(12)}
    table = Axes(spaces, {f"h.{i}.mlp.w": Layout((((f"h.{i}.mlp",),),)) for i in range(12)})
    assert str(table) == "h.*.mlp = 3\nh.*.mlp.w : h.*.mlp"


def test_a_layer_that_differs_is_not_swallowed() -> None:
    layouts = {f"h.{i}.w": Layout((((f"h.{i}",),),)) for i in range(3)} | {"h.3.w": Layout((((3,),),))}
    table = Axes({f"h.{i}": Space(f"h.{i}", 3) for i in range(3)}, layouts)
    assert table_for(str(table), Weights.of({name: torch.zeros(3) for name in layouts})) == table


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("w <- 3", BadParameter, "line 1 of the axes table is neither 'tensor : axes' nor 'space = size': 'w <- 3'"),
        ("\nw : (a b <- 3", BadParameter, "line 2 of the axes table: a bracket holds products"),
        ("w : a <- 3 <- 2", BadParameter, "line 1 of the axes table: one arrow, between two axes, is allowed"),
        ("w : a) 3", BadParameter, "line 1 of the axes table: '\\)' without '\\(' before it"),
        ("v : a", NamesDiffer, "the axes table says nothing of 'w'; add a line for each"),
        ("w : a", ShapesDiffer, r"line 1 of the axes table gives tensor 'w' 1 axes, but its shape is \(4, 3\)"),
        ("w : 5 3", ShapesDiffer, r"line 1 of the axes table says that tensor 'w' has shape \(5, 3\), but it has \(4, 3\)"),
        ("w : (a b) 3", BadParameter, "the axes table does not say how large 'a', 'b' is, and no tensor tells; write 'NAME = SIZE'"),
        ("a = 2 in b\nw : (2 a) 3", BadParameter, "puts a space into 'b', whose size is not written; write 'b = SIZE'"),
        ("a = 2 scale\nw : (2 a) 3", BadParameter, "line 1 of the axes table is neither"),
        ("a = 2 in a\nw : (2 a) 3", BadParameter, "puts the space 'a' into itself"),
    ],
)
def test_what_cannot_be_read_says_where(text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        table_for(text, shaped(w=(4, 3)))


def test_scales_are_written_behind_the_size() -> None:
    """A space called `scales` is no word of the language, whether others lie in it or not."""
    text = "scales = 3 scales\nheads = 2\ndims = 4 in scales\nh.*.up = 5 scales\nw : (scales dims) heads\nh.*.up : h.*.up <- scales"
    table = table_for(text, shaped(w=(12, 2), h__0__up=(5, 3), h__1__up=(5, 3)))
    assert {name for name, space in table.spaces.items() if space.scales} == {"scales", "h.0.up", "h.1.up"}
    assert table.spaces["dims"] == Space("dims", 4, ("scales",))
    assert table_for(str(table), shaped(w=(12, 2), h__0__up=(5, 3), h__1__up=(5, 3))) == table
    assert "h.*.up = 5 scales" in str(table).splitlines()


def test_scales_of_some_layers_alone() -> None:
    spaces = {f"h.{i}": Space(f"h.{i}", 3, scales=i != 1) for i in range(4)}
    table = Axes.of(spaces, {f"h.{i}.w": Layout((((f"h.{i}",),),)) for i in range(4)})
    assert table_for(str(table), Weights.of({name: torch.zeros(3) for name in table.layouts})) == table


def test_lines_of_spaces_are_starred_where_those_of_tensors_are_not() -> None:
    """Layers that consume one another have a line each, and no biases share one."""
    line = lambda *sizes: torch.nn.Linear(*sizes, bias=False)  # noqa: E731
    model = torch.nn.Sequential(line(3, 8), torch.nn.ReLU(), line(8, 8), torch.nn.ReLU(), line(8, 2))
    table = axes(model, torch.zeros(1, 3))
    assert "layer.* = 8 scales" in str(table).splitlines() and "2.weight : layer.2 <- layer.0" in str(table).splitlines()
    assert table_for(str(table), Weights.of(model.state_dict())) == table
    nested = "a.* = 2 in b.*\nb.* = 3\nx.w : (b.0 a.0) <- (b.1 a.1)\ny.w : (b.1 a.1) <- 4"
    found = table_for(nested, shaped(x__w=(6, 6), y__w=(6, 4)))
    assert found.spaces["a.1"] == Space("a.1", 2, ("b.1",)) and table_for(str(found), shaped(x__w=(6, 6), y__w=(6, 4))) == found


def test_scales_that_a_person_writes_are_proved() -> None:
    text = "0.weight : hidden <- 3\n0.bias : hidden\n2.weight : 2 <- hidden\n2.bias : 2\n"
    for activation, right in ((torch.nn.ReLU(), True), (torch.nn.GELU(), False)):
        model = torch.nn.Sequential(torch.nn.Linear(3, 8), activation, torch.nn.Linear(8, 2))
        x = torch.linspace(-1, 1, 12).reshape(4, 3)
        plain, scaling = (table_for(line + text, Weights.of(model.state_dict())) for line in ("hidden = 8\n", "hidden = 8 scales\n"))
        assert "all scaled" not in verify(plain, model, x)
        if right:
            assert verify(scaling, model, x)["all scaled"] < 1e-12
        else:
            with pytest.raises(BadParameter, match=r"scaling the units of 'hidden' changes the outputs by .* leave `scales` out there"):
                verify(scaling, model, x)


def test_a_table_of_another_model() -> None:
    table = table_for("w : a 3", shaped(w=(4, 3)))
    with pytest.raises(NamesDiffer, match="says nothing of 'v'; it was made for another model"):
        table.fits(shaped(w=(4, 3), v=(2,)))
    with pytest.raises(ShapesDiffer, match=r"says that tensor 'w' has shape \(4, 3\), but it has \(5, 3\)"):
        table.fits(shaped(w=(5, 3)))


def test_a_space_can_be_fixed() -> None:
    table = table_for("heads = 2\ndims = 3 in heads\nw : (heads dims) <- x", shaped(w=(6, 5)))
    assert set(table.without("dims").spaces) == {"heads", "x"}
    assert set(table.without("heads").spaces) == {"x"}
    assert table.without("heads").layouts["w"].axes[0] == ((2, 3),)
