"""Starts the Autobahn suite from a directory of its own: wstest.py LIB ARGUMENTS...

Why not the suite's script: it names the interpreter and the directories it was installed with. A site directory also
reads the .pth files, without which zope.interface is not found.
"""

import site
import sys

lib = sys.argv.pop(1)
sys.path.insert(0, lib)
site.addsitedir(lib)

from autobahntestsuite.wstest import run

run()
