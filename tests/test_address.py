"""The address: what is chosen stands in it, what it says is chosen, and Back is not undone by what was chosen since."""

import pytest
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
    address.end()


@pytest.fixture
def app():
    return AppTest.from_function(page)


def address_of(app):
    """As it stands: the harness gives lists for what it read, and texts for what was set in it."""
    return {name: value if isinstance(value, str) else value[-1] for name, value in app.query_params.items()}


def go(app, **address):
    """As the browser does when it goes back, or a link is opened: the address changes, and nothing else."""
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
    assert (app.selectbox[0].value, app.slider[0].value, app.number_input[0].value) == ("second", 2, 0)
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


def test_an_address_that_comes_late_does_not_undo_a_choice(app):
    """A browser tells the address of a moment before when two things are done in quick succession."""
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
