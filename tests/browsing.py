"""Waiting for a page in a real browser: what the browser tests and screenshots.py share."""


def settle(page):
    """Waits until the script has ended and nothing is being drawn, for a quarter of a second; no
    exception is shown.
    """
    page.wait_for_function("""() => {
          const app = document.querySelector('[data-testid=stApp]');
          const idle = app && app.dataset.testScriptState === 'notRunning'
            && app.dataset.testConnectionState === 'CONNECTED'
            && !document.querySelector('[data-testid=stSpinner], [data-testid=stSkeleton]');
          if (!idle) { window.idleSince = null; return false; }
          window.idleSince ??= Date.now();
          return Date.now() - window.idleSince > 250;
        }""")
    assert page.locator("[data-testid=stException]").count() == 0, page.locator(
        "[data-testid=stException]"
    ).inner_text()
