#!/bin/sh
# Every mode of the demo in its short form: it ends with a RESULT that an independent script
# recomputes. run_demo.sh BUILD/examples PYTHON
set -eu
programs=$1 python=$2
root=${RLHF_SOURCE_DIR:-.}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

fail() {
    echo "FAILED: $*"
    exit 1
}

# A mode: it succeeds, and its last line is RESULT with every field.
run() {
    name=$1
    shift
    "$programs/demo/demo" --short --seed 3 --out "$out/$name" "$@" >"$out/$name.txt" \
        2>"$out/$name.log" || { cat "$out/$name.log"; fail "demo $*"; }
    line=$(tail -n 1 "$out/$name.txt")
    case $line in
    'RESULT {'*'}') ;;
    *) fail "the last line of demo $* is: $line" ;;
    esac
    for field in mode seed pairs rm_accuracy rm_accuracy_ceiling rm_q rm_q_linear gold_before \
        gold_after win_rate win_rate_low kl seconds peak_rss_mib; do
        case $line in
        *"\"$field\": "*) ;;
        *) fail "RESULT has no $field" ;;
        esac
    done
    [ -s "$out/$name/report.html" ] || fail "there is no report.html"
    echo "ok: $name"
}

run default
if "$python" -c 'import numpy' 2>/dev/null; then
    "$python" "$root/examples/demo/verify.py" "$out/default" >"$out/verify.txt" 2>&1 ||
        { cat "$out/verify.txt"; fail "verify.py does not agree"; }
    echo "ok: verified"
else
    echo "numpy is not installed: the figures are not recomputed"
fi
run control --control

# A person who types: choices, a typing error, undo, a tie, a skip, then ten verdicts.
{
    printf '1\n2\nx\nu\n1\nt\ns\n'
    yes 1 | head -n 60
} >"$out/typed"
"$programs/demo/demo" --human --short --seed 3 --out "$out/human" <"$out/typed" \
    >"$out/human.txt" 2>"$out/human.log" || { cat "$out/human.log"; fail 'demo --human'; }
tail -n 1 "$out/human.txt" | grep -q '"mode": "human".*"blind_after": ' ||
    fail 'demo --human gives no verdict'
echo 'ok: human'

cd "$root" # as ./dev does: the default of RLHF_DATA_DIR is relative to it
data=${RLHF_DATA_DIR:-../shared/data}
if [ -d "$data/models/stories260K" ]; then
    run real --real
    if "$python" -c 'import numpy' 2>/dev/null; then
        "$python" "$root/examples/demo/verify.py" "$out/real" --data "$data" \
            >"$out/verify.txt" 2>&1 || { cat "$out/verify.txt"; fail "verify.py --real"; }
        echo 'ok: real verified'
    fi
else
    echo "skipped: demo --real, there is no $data"
fi

# Wrong input: a message, and nothing written.
mkdir "$out/full"
echo mine >"$out/full/file"
if "$programs/demo/demo" --out "$out/full" 2>"$out/err"; then fail 'a full folder is taken'; fi
grep -q 'not empty' "$out/err" || fail "words about a full folder: $(cat "$out/err")"
[ "$(ls "$out/full")" = file ] || fail 'something was written into a full folder'
if "$programs/demo/demo" --seed x 2>"$out/err"; then fail '--seed x is taken'; fi
grep -q 'seed' "$out/err" || fail 'words about a wrong seed'
if "$programs/demo/demo" --nonsense 2>"$out/err"; then fail '--nonsense is taken'; fi
grep -q usage "$out/err" || fail 'no usage'
if RLHF_DATA_DIR=/nonexistent "$programs/demo/demo" --real --out "$out/r2" 2>"$out/err"; then
    fail '--real without data'
fi
grep -q RLHF_DATA_DIR "$out/err" || fail 'words about missing data'
echo 'ok: wrong input'
