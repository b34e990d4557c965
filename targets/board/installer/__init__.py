"""Installs edge-se bundles on the board that it runs on, each as a release of its own.

    install.pyz [install]                     from the folder of an unpacked bundle
    install.pyz use --release ID              go to a release that is installed
    install.pyz rollback                      go to the release in use before
    install.pyz status | report | probe       releases, report of the one in use, facts

It travels as one file (`targets/application.py`), needs the standard library alone, and runs on
Pythons older than edge-se wants, from 3.7 on, so that it can say what is there. A release is
switched to, by replacing one link, only after its model has enhanced a signal there and its
benchmark was within the limit:

    ROOT/releases/ID/     env (virtual environment), model.tflite or .so, report.json and more
    ROOT/current          link to the release in use
    ROOT/history          an ID per line, in the order in which releases came into use
    ROOT/incoming/        bundles on their way here

ID begins the SHA-256 of the bundle's list of checksums: the same bundle, the same ID. Nothing of a
bundle is parsed before it has been compared with that list. What is written is on the disk before
anything refers to it, so that a power cut leaves the old state or the new one; a release that is
damaged all the same is told as such and never switched to, and the next installation removes it.

Standard output is JSON, progress goes to standard error. After an error the exit status is 3 and
the JSON holds one sentence as `error`.
"""
