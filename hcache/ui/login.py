"""Login by OpenID Connect, if the operator of the dashboard has set it up: see
docs/how-to/shared-server.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

ALLOWED = "allowed_emails"
"""The setting in ``.streamlit/secrets.toml``: addresses, or ``*@`` with a domain."""


def need_login() -> None:
    """Admits users who are logged in and listed.

    Without a login, everybody is admitted. Other users see the reason, and no page.
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
    """Returns whether a user's address is in the list ``allowed``.

    An address that the provider has not verified never is. If ``allowed`` is not a list, nobody is.
    """
    email = str(user.get("email") or "").lower()
    name, at, domain = email.rpartition("@")
    if not name or not at or user.get("email_verified") is False or not isinstance(allowed, list):
        return False
    return any(str(entry).lower() in (email, f"*@{domain}") for entry in allowed)


def _secret(name: str) -> object:
    """Returns a secret, or None if it or the file of secrets does not exist."""
    try:
        return st.secrets.get(name)
    except FileNotFoundError:  # Streamlit's own error for a missing file
        return None
