"""Logging in by OpenID Connect, where the one who runs the dashboard has set it up: see
docs/how-to/shared-server.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

ALLOWED = "allowed_emails"
"""In ``.streamlit/secrets.toml``: addresses, or ``*@`` with a domain."""


def need_login() -> None:
    """Lets those pass who are logged in and named.

    All, where no login was set up. Others see why, and no page.
    """
    if not _secret("auth"):
        return
    user = st.user.to_dict()
    if not user.get("is_logged_in"):
        st.info("Log in to use this dashboard.", icon=":material/lock:")
        st.button("Log in", key="log-in", type="primary", on_click=st.login)
        st.stop()
    if not is_named(user, _secret(ALLOWED)):
        st.error(f"You are logged in, but {ALLOWED} in secrets.toml does not name you.")
        st.button("Log out", key="log-out", on_click=st.logout)
        st.stop()


def is_named(user: Mapping[str, object], allowed: object) -> bool:
    """Whether a user's address is in the list ``allowed``.

    An address that the provider has not verified never is.

    Anything but a list, as a file of secrets may hold, names nobody.
    """
    email = str(user.get("email") or "").lower()
    name, at, domain = email.rpartition("@")
    if not name or not at or user.get("email_verified") is False or not isinstance(allowed, list):
        return False
    return any(str(entry).lower() in (email, f"*@{domain}") for entry in allowed)


def _secret(name: str) -> object:
    """A secret; None where there is none, or no file of secrets at all."""
    try:
        return st.secrets.get(name)
    except FileNotFoundError:  # Streamlit's own error is one
        return None
