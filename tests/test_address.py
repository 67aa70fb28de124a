"""The address: what is chosen stands in it, what it says is chosen, and Back is not undone by
what was chosen since.
"""

import pytest
from streamlit.runtime.state import QueryParamsProxy
from streamlit.testing.v1 import AppTest


def page():
    """Two choices and a part of the page that makes one on its own."""
    import streamlit as st

    from hcache.ui import address, state

    address.read(st.session_state.get("page", "one"))
    state.select("Run", "run", ["first", "second"])
    state.slider("Step", "step", 0, 9, 5)
    if st.button("sample 3"):
        state.choose("sample", 3)
        st.rerun()
    state.sample("Sample", "sample", range(8), 0)

    def two(sample, step):
        state.choose("sample", sample)
        state.choose("step", step)

    def two_together(sample, step):
        with address.together():
            two(sample, step)

    st.button("two", on_click=two, args=(4, 6))
    st.button("two together", on_click=two_together, args=(3, 7))
    address.end()


@pytest.fixture
def app():
    return AppTest.from_function(page)


def address_of(app):
    """As it stands: the harness gives lists for what it read, and texts for what was set in it."""
    return {
        name: value if isinstance(value, str) else value[-1]
        for name, value in app.query_params.items()
    }


def go(app, **address):
    """As the browser does when it goes back, or a link is opened: the address changes, and
    nothing else.
    """
    app.query_params.clear()
    app.query_params.update(address)
    return app.run()


def test_the_run_and_what_is_not_at_its_default_stand_in_the_address(app):
    app.run()
    assert address_of(app) == {"run": "first"}
    app.slider(key="choose-step").set_value(7).run()
    assert address_of(app) == {"run": "first", "step": "7"}
    app.slider(key="choose-step").set_value(5).run()
    assert address_of(app) == {"run": "first"}


def test_a_link_is_opened_as_it_was_copied_and_a_wrong_one_shows_defaults(app):
    go(app, run="second", step="2", sample="99")
    assert (app.selectbox[0].value, app.slider[0].value, app.number_input[0].value) == (
        "second",
        2,
        0,
    )
    assert address_of(app) == {"run": "second", "step": "2"}
    other = go(AppTest.from_function(page), run="third", step="nonsense")
    assert not other.exception and (other.selectbox[0].value, other.slider[0].value) == ("first", 5)


def test_back_and_forward_go_through_what_was_chosen(app):
    app.run()
    app.slider(key="choose-step").set_value(7).run()
    app.button[0].click().run()
    assert address_of(app) == {"run": "first", "step": "7", "sample": "3"}
    app.session_state["address"].written = -1.0  # the user takes longer than a message
    go(app, run="first", step="7")
    assert (app.slider[0].value, app.number_input[0].value) == (7, 0)
    go(app, run="first")
    assert (app.slider[0].value, app.number_input[0].value) == (5, 0)
    go(app, run="first", step="7", sample="3")
    assert (app.slider[0].value, app.number_input[0].value) == (7, 3)
    assert address_of(app) == {"run": "first", "step": "7", "sample": "3"}


@pytest.fixture
def entries(monkeypatch):
    """Every address that is written: the browser makes an entry of each."""
    found, write = [], QueryParamsProxy.from_dict
    monkeypatch.setattr(
        QueryParamsProxy,
        "from_dict",
        lambda self, address: (found.append(dict(address)), write(self, address)),
    )
    return found


def test_choices_made_together_are_one_entry_in_the_history(app, entries, monkeypatch):
    monkeypatch.setattr(
        "hcache.ui.address.STALE", 0.0
    )  # Back is pressed here sooner than a hand could
    app.run()
    entries.clear()
    app.button[2].click().run()
    assert (app.slider[0].value, app.number_input[0].value) == (7, 3)
    assert entries == [{"run": "first", "sample": "3", "step": "7"}]
    app.button[2].click().run()
    assert len(entries) == 1, "what is chosen already is no entry"
    go(app, run="first")
    assert (app.slider[0].value, app.number_input[0].value) == (5, 0), "Back undoes both"
    entries.clear()
    app.button[1].click().run()
    assert len(entries) == 2, "otherwise each is one of its own"


def test_an_address_that_comes_late_does_not_undo_a_choice(app):
    """A browser tells the address of a moment before when two things are done in quick
    succession.
    """
    app.run()
    app.slider(key="choose-step").set_value(7).run()
    app.query_params.clear()
    app.query_params.update({"run": "first"})
    app.number_input(key="choose-sample").set_value(2).run()
    assert (app.slider[0].value, app.number_input[0].value) == (7, 2)
    assert address_of(app) == {"run": "first", "step": "7", "sample": "2"}


def test_another_page_keeps_the_choices_unless_its_address_has_others(app):
    app.run()
    app.slider(key="choose-step").set_value(7).run()
    app.session_state["page"] = "two"
    go(app)  # a bare address, as a link from elsewhere has it
    assert app.slider[0].value == 7
    app.session_state["page"] = "one"
    go(app, step="1")  # a beginning of one: what it does not name stays
    assert (app.slider[0].value, app.selectbox[0].value) == (1, "first")
    app.session_state["page"] = "two"
    go(app, run="second")  # one of ours: what it does not name is at its default
    assert (app.slider[0].value, app.selectbox[0].value) == (5, "second")


def test_an_address_that_names_defaults_is_left_as_it_is(app):
    """Writing it anew would be an entry in the history that Back only comes back to."""
    go(app, run="first", step="5")
    assert address_of(app) == {"run": "first", "step": "5"}
    app.number_input(key="choose-sample").set_value(2).run()
    assert address_of(app) == {"run": "first", "sample": "2"}


def test_what_no_widget_has_asked_for_yet_stays_in_the_address(app):
    go(app, run="first", label="smile")
    assert address_of(app) == {"run": "first", "label": "smile"}


def ranges():
    """A range whose ends are those of what there is, which may grow."""
    import streamlit as st

    from hcache.ui import address, state

    address.read("one")
    state.keep("run", "first")
    st.text(str(state.span("Range", "range", 0.0, st.session_state.get("high", 1.0))))
    address.end()


def test_a_range_is_chosen_both_ways_and_all_of_it_grows_with_what_there_is():
    app = go(AppTest.from_function(ranges), run="first", range="0.25~0.5")
    assert app.text[0].value == "(0.25, 0.5)" and address_of(app) == {
        "run": "first",
        "range": "0.25~0.5",
    }
    app.slider[0].set_value((0.5, 0.75)).run()
    assert address_of(app)["range"] == "0.5~0.75"
    app.session_state["high"] = 2.0
    app.run()
    assert app.text[0].value == "(0.5, 0.75)" and address_of(app)["range"] == "0.5~0.75"
    app.slider[0].set_value((0.0, 2.0)).run()
    assert address_of(app) == {"run": "first"}
    app.session_state["high"] = 3.0
    app.run()
    assert app.text[0].value == "(0.0, 3.0)" and address_of(app) == {"run": "first"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("nonsense", (0, 1)),
        ("nan~nan", (0, 1)),
        ("0.8~0.2", (0, 1)),
        ("0.1~0.2~0.3", (0, 1)),
        ("~", (0, 1)),
        ("", (0, 1)),
        ("-inf~inf", (0, 1)),
        ("7~9", (1, 1)),
        ("-3~0.5", (0, 0.5)),
        ("9" * 5000 + "~1", (0, 1)),
    ],
)
def test_a_strange_range_is_all_of_it_or_what_there_is_of_it(said, shown):
    app = go(AppTest.from_function(ranges), run="first", range=said)
    assert not app.exception and app.text[0].value == str(tuple(map(float, shown)))
    app.session_state["high"] = 2.0
    assert not app.run().exception
    assert not go(app, run="first", range=said).exception


def narrowing():
    """A slider whose bounds are another's than those of the run before."""
    import streamlit as st

    from hcache.ui import address, state

    address.read("one")
    last = st.selectbox("Last step", [19, 9, 4])
    state.slider("Step", "step", 0, last, 3)
    state.window("Window", "window", last + 1)
    state.amount("Strength", "strength", -1.0, float(last), 1.0, step=0.5)
    state.span("Range", "range", 0.0, float(last))
    address.end()


def test_a_choice_is_kept_by_a_slider_of_other_bounds_as_long_as_it_is_within_them():
    """Streamlit takes such a slider for another one, which begins at its own default."""
    app = AppTest.from_function(narrowing).run()
    for slider, value in zip(app.slider, (7, (2, 6), 2.5, (1.0, 6.0)), strict=True):
        slider.set_value(value)
    app.run()
    app.selectbox[0].select(9).run()
    assert [slider.value for slider in app.slider] == [7, (2, 6), 2.5, (1.0, 6.0)]
    app.selectbox[0].select(4).run()
    step, window, strength, _ = (slider.value for slider in app.slider)
    assert (step, window, strength) == (4, (2, 4), 2.5)


def test_a_late_message_does_not_undo_a_choice_and_a_later_one_is_the_users(app, monkeypatch):
    """A message that was sent before the browser heard of the choice brings the old value."""
    app.run()
    app.button[0].click().run()
    assert app.number_input[0].value == 3
    app.number_input[0].set_value(0).run()
    assert app.number_input[0].value == 3 and address_of(app)["sample"] == "3"
    monkeypatch.setattr("hcache.ui.address.LATE", 0.0)
    app.number_input[0].set_value(0).run()
    assert app.number_input[0].value == 0 and "sample" not in address_of(app)
