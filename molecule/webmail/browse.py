#!/usr/bin/python3
"""A person in front of a browser: log in, send a mail to oneself, read it, log out.

    browse URL USER PASSWORD SUBJECT PAUSE

After the mail was sent it waits until the file PAUSE is gone, while a test breaks something. Prints a line for each
thing done.
"""

import os
import sys
import time

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as condition
from selenium.webdriver.support.ui import WebDriverWait

READY = "return window.rcmail && rcmail.commands.logout && !rcmail.busy && jQuery.active === 0"
LINKS = """
const links = [...document.querySelectorAll("#messagelist .subject a")];
return links.filter(link => link.textContent.includes(arguments[0])).map(link => link.href);
"""


def main():
    """Do all that, in Chromium without a screen."""
    url, user, password, subject, pause = sys.argv[1:]
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    browser.set_page_load_timeout(60)

    def see(*where, longest=60):
        return WebDriverWait(browser, longest).until(condition.element_to_be_clickable(where))

    def ready():
        """Wait until the page's scripts have read it, or clicks are lost, and have asked all that they ask at first.

        A session has no lock: of two requests at once, the later answer undoes what the earlier one kept there.
        """
        WebDriverWait(browser, 60).until(lambda b: b.execute_script(READY))

    def done(what):
        print(what, flush=True)

    try:
        browser.get(url)
        see(By.ID, "rcmloginuser").send_keys(user)
        browser.find_element(By.ID, "rcmloginpwd").send_keys(password)
        see(By.ID, "rcmloginsubmit").click()
        see(By.ID, "messagelist")
        ready()
        done("logged in")

        browser.get(f"{url}/?_task=mail&_action=compose&_to={user}")
        see(By.ID, "compose-subject").send_keys(subject)
        see(By.ID, "composebody").send_keys("Written in a browser.")
        ready()
        see(By.CSS_SELECTOR, "button.send").click()
        WebDriverWait(browser, 60).until(lambda b: "_action=compose" not in b.current_url)
        done("sent")

        open(pause, "w").close()
        while os.path.exists(pause):
            time.sleep(0.2)

        start = time.monotonic()
        while True:
            browser.get(f"{url}/?_task=mail&_mbox=INBOX")
            if browser.find_elements(By.ID, "rcmloginuser"):
                raise SystemExit("the session is gone")
            found = browser.execute_script(LINKS, subject)  # at once: the list is drawn anew now and then
            if found:
                break
            if time.monotonic() - start > 90:
                raise SystemExit("no mail of this subject: " + browser.page_source[:2000])
            time.sleep(1)
        browser.get(found[0].replace("_action=preview", "_action=show"))
        see(By.ID, "message-content")
        if "Written in a browser." not in browser.find_element(By.ID, "message-content").text:
            raise SystemExit("the mail is another one")
        done(f"read {time.monotonic() - start:.1f}")

        browser.get(f"{url}/?_task=mail")
        ready()
        see(By.CSS_SELECTOR, "a.logout").click()
        see(By.ID, "rcmloginuser")
        done("logged out")
    except Exception:
        browser.save_screenshot("/root/browse.png")
        raise
    finally:
        browser.quit()


main()
