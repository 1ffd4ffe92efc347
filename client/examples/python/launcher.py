"""A small launcher in Python: installs the app if it is not there, else updates it, and confirms the new release.

usage: launcher.py TREE SITE ROOT APP CHANNEL [cancel | launch]

ROOT is a file with the root document. With `cancel` the download is cancelled as soon as it begins, as a user might. With
`launch` the library's own launcher takes an installed tree through all of it, and this program only does what it is told.
Ends with the status of the call that failed, or 0.
"""

import pathlib
import sys

import lamplighter


def main():
    tree, site, root, app, channel, *more = sys.argv[1:]
    library = lamplighter.load()
    print(f"lamplighter {library.lamplighter_version().decode()} on {library.lamplighter_platform().decode()}")

    def on_event(event):
        if event.kind == lamplighter.STARTED and event.phase == b"download" and "cancel" in more:
            opened.cancel()
        elif event.kind == lamplighter.ADVANCED and event.percent >= 0:
            print(f"  {event.phase.decode()}: {event.percent} %")
        elif event.kind == lamplighter.NOTICE:
            print(f"  {event.code.decode()}: {event.subject.decode()} {event.text.decode()}")
        elif event.kind == lamplighter.QUESTION:
            print(f"asked for build {event.build}")
            return lamplighter.YES
        return 0

    try:
        with lamplighter.Tree(library, tree, on_event=on_event) as opened:
            if "launch" in more:
                return launch(opened)
            if opened.status().installed:
                update(opened)
            else:
                report = opened.install(site, app, channel, pathlib.Path(root).read_bytes())
                print(f"installed {report.version.decode()} (build {report.build})")
            run(opened)
    except lamplighter.LamplighterError as error:
        print(f"error {error.status} {error.code}: {error}", file=sys.stderr)
        return error.status
    return 0


def update(opened):
    offer = opened.check()
    if offer.state == lamplighter.NOTHING:
        print(f"nothing to do: {offer.reason.decode()}")
        return
    print(f"available {offer.version.decode()} (build {offer.build})")
    # All but the last step; the app may run meanwhile.
    offer = opened.stage()
    if offer.state == lamplighter.NOTHING:
        print(f"nothing to do: {offer.reason.decode()}")
        return
    print(f"staged {offer.version.decode()} (build {offer.build})")
    # The last step, when the app is closed. Needs no network.
    report = opened.commit()
    print(f"updated to {report.version.decode()} (build {report.build})")


def launch(opened):
    """Checks, asks, updates and counts the start in one call."""
    launched = opened.launch(__file__)
    if launched.action != lamplighter.RUN:
        print(f"end: {launched.action}")
        return 1
    # Here the app is started, and looked at for a while.
    print(f"run build {opened.status().build}, start {launched.start} on probation")
    opened.confirm_healthy()
    return 0


def run(opened):
    """Counts the start, starts the app, and confirms the release once it works."""
    start = opened.count_start()
    if start.action == lamplighter.START_GO_BACK:
        opened.rollback()
        print("went back")
    elif start.action == lamplighter.START_PROBATION:
        print(f"start {start.start} of {start.starts_max}")
    # Here the app is started, and looked at for a while.
    opened.confirm_healthy()
    print("confirmed")


if __name__ == "__main__":
    sys.exit(main())
