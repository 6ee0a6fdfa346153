#!/bin/sh
# The numbered examples one after the other with their own configs, a few steps each; then wrong
# input, interruption and a full disk. run_examples.sh BUILD/examples
set -eu
programs=$(cd "$1" && pwd)
root=$(cd "${RLHF_SOURCE_DIR:-.}" && pwd)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cd "$out"

fail() {
    echo "FAILED: $*"
    exit 1
}

# Runs an example with its own config, shortened.
run() {
    name=$1
    shift
    sed -e 's/^steps: .*/steps: 12/' -e 's/^iterations: .*/iterations: 2/' \
        -e 's/^batch: .*/batch: 16/' -e 's/^limit: .*/limit: 60/' \
        -e 's/^held_out: .*/held_out: 16/' -e 's/^normalize_count: .*/normalize_count: 16/' \
        -e 's/^evaluate_every: .*/evaluate_every: 1/' "$root/examples/$name.yaml" >"$name.yaml"
    "$programs/$name" "$name.yaml" "$@" >"$name.out" 2>"$name.err" ||
        { cat "$name.err"; fail "$name"; }
    echo "ok: $name"
}

# An example that must fail, with words and not by a signal; what was there stays.
refuse() {
    words=$1
    shift
    status=0
    "$@" >refuse.out 2>refuse.err </dev/null || status=$?
    [ "$status" -gt 0 ] && [ "$status" -lt 126 ] || fail "$* ends with status $status"
    grep -q "$words" refuse.err || { cat refuse.err; fail "$* does not say '$words'"; }
}

mkdir -p work/data
"$programs/demo/world" 1 work/data 200
run 01_pretrain
run 02_sft
run 03_generate
yes 1 | head -n 30 >keys
"$programs/04_annotate" "$root/examples/04_annotate.yaml" <keys >annotate.out 2>annotate.err
grep -q '^30 choices' annotate.err || fail "04_annotate: $(cat annotate.err)"
# A second start goes on where the first stopped; undo takes one back.
printf 'u\n2\nt\ns\nq\n' | "$programs/04_annotate" "$root/examples/04_annotate.yaml" \
    >annotate.out 2>annotate.err
grep -q '^30 choices, 1 ties, 1 skipped' annotate.err || fail "04_annotate: $(cat annotate.err)"
[ "$(wc -l <work/choices.jsonl)" -eq 30 ] || fail 'the export has not 30 choices'
echo 'ok: 04_annotate'
run 05_reward
run 06_ppo
grep -q '"first_ratio_deviation": 0,' work/ppo.jsonl || fail 'the first ratio is not exactly 1'
mkdir over
"$programs/demo/overoptimize" work/sft work/reward work/data/prompts_ppo.jsonl \
    work/data/prompts_eval.jsonl 0 1 1 over >over.jsonl 2>over.err || fail "overoptimize: $(cat over.err)"
[ "$(wc -l <over.jsonl)" -eq 2 ] || fail 'overoptimize has not evaluated twice'
[ "$(cat over/0.jsonl over/1.jsonl | wc -l)" -eq 512 ] || fail 'overoptimize has not written 2 times 256 answers'
echo 'ok: demo/overoptimize'
printf 'It is late. Tom is sad and wants to read.\nMia is happy. Mia wants to fish.\n' >asked
printf 'The sun shines.\n1\n' >>asked
"$programs/07_serve_and_improve" "$root/examples/07_serve_and_improve.yaml" <asked >served \
    2>served.err || fail '07_serve_and_improve'
grep -q 'served 3 prompts' served.err || fail "07: $(cat served.err)"
[ "$(wc -l <work/served.jsonl)" -eq 3 ] || fail 'prompts served are not kept'
echo 'ok: 07_serve_and_improve'
# The policy's folder alone serves.
mkdir alone && cp -r work/policy alone/
printf 'model: alone/policy\ngenerator:\n  max_new_tokens: 4\n' >alone.yaml
mv work/reward work/reward-away
echo hello | "$programs/07_serve_and_improve" alone.yaml >/dev/null 2>&1 || fail 'policy alone'
mv work/reward-away work/reward
run custom_reward
run custom_sampler 'It is late. Tom'

refuse 'cannot read the config' "$programs/01_pretrain" nowhere.yaml
refuse usage "$programs/01_pretrain"
printf 'corpus: nowhere.txt\noutput: x\n' >bad.yaml
refuse 'nowhere.txt' "$programs/01_pretrain" bad.yaml
printf 'model: work/sft\ndata: work/data/sft.jsonl\noutput: x\nstepz: 3\n' >bad.yaml
refuse 'bad.yaml:4:1.*stepz' "$programs/02_sft" bad.yaml
printf 'model: work/sft\ndata: work/data/sft.jsonl\noutput: x\ntraining:\n  batch_size: 0\n' >bad.yaml
refuse 'bad.yaml:5.*batch_size' "$programs/02_sft" bad.yaml
echo '{"prompt": "a", "completion": ' >bad.jsonl
printf 'model: work/sft\ndata: bad.jsonl\noutput: x\n' >bad.yaml
refuse 'bad.jsonl:1' "$programs/02_sft" bad.yaml
mkdir broken && cp work/sft/* broken/
head -c 1000 work/sft/model.safetensors >broken/model.safetensors
printf 'model: broken\ndata: work/data/sft.jsonl\noutput: x\n' >bad.yaml
refuse 'model.safetensors' "$programs/02_sft" bad.yaml
printf 'store: nowhere.db\n' >bad.yaml
refuse 'no store' "$programs/04_annotate" bad.yaml
[ ! -e x ] || fail 'a refused run wrote its output'

# Every program, on its own config with one thing wrong.
for name in 01_pretrain 02_sft 03_generate 04_annotate 05_reward 06_ppo \
    07_serve_and_improve custom_reward custom_sampler; do
    program=$programs/$name
    refuse usage "$program"
    refuse 'nowhere.yaml' "$program" nowhere.yaml prompt
    { cat "$root/examples/$name.yaml" && printf '\nbroken: [1\n'; } >bad.yaml
    refuse 'bad.yaml:[0-9]*:[0-9]*:' "$program" bad.yaml prompt
    { cat "$root/examples/$name.yaml" && printf '\nunknown_key: 1\n'; } >bad.yaml
    refuse 'bad.yaml:[0-9]*:1:.*unknown_key' "$program" bad.yaml prompt
    sed 's#work/#nowhere/#' "$root/examples/$name.yaml" >bad.yaml
    refuse 'nowhere' "$program" bad.yaml prompt
    grep -q '^model: ' bad.yaml || continue
    sed 's#^model: .*#model: broken#' "$root/examples/$name.yaml" >bad.yaml
    refuse 'broken/model.safetensors' "$program" bad.yaml prompt
done
[ ! -e nowhere ] || fail 'a refused run made a folder'
echo 'ok: wrong input'

# Ctrl-C in the middle: a message, the state saved, and the same command goes on.
sed -e 's/^steps: .*/steps: 400/' -e 's#work/pretrained#work/again#' \
    "$root/examples/01_pretrain.yaml" >long.yaml
"$programs/01_pretrain" long.yaml >/dev/null 2>long.err &
child=$!
tries=0
while [ ! -s work/pretrain.jsonl ] || [ "$(wc -l <work/pretrain.jsonl)" -lt 20 ]; do
    sleep 0.1
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || fail 'no progress'
done
kill -INT "$child"
status=0
wait "$child" || status=$?
[ "$status" -eq 130 ] || fail "Ctrl-C ended with status $status: $(cat long.err)"
grep -q 'the same command goes on' long.err || fail "Ctrl-C says: $(cat long.err)"
[ -d work/state-pretrain ] || fail 'Ctrl-C saved nothing'
[ ! -e work/again ] || fail 'Ctrl-C left half an output'
done_before=$(wc -l <work/pretrain.jsonl)
"$programs/01_pretrain" long.yaml >/dev/null 2>&1 || fail 'going on after Ctrl-C'
[ "$(grep -c '"step"' work/pretrain.jsonl)" -eq 400 ] ||
    fail "after $done_before steps and Ctrl-C the log has $(wc -l <work/pretrain.jsonl) lines"
[ -s work/again/model.safetensors ] || fail 'no model after going on'
echo 'ok: Ctrl-C'

# interrupt SIGN NAME CONFIG: starts an example, waits for the file SIGN to have bytes,
# presses Ctrl-C.
interrupt() {
    sign=$1
    rm -f "$sign"
    "$programs/$2" "$3" >stop.out 2>stop.err &
    child=$!
    tries=0
    while [ ! -s "$sign" ]; do
        sleep 0.1
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail "$2 does not begin: $(cat stop.err)"
    done
    kill -INT "$child"
    status=0
    wait "$child" || status=$?
    [ "$status" -eq 130 ] || fail "$2 ended with status $status: $(cat stop.err)"
    grep -q "$2: stopped by Ctrl-C" stop.err || fail "$2 on Ctrl-C says: $(cat stop.err)"
    [ -z "$(find . -name '*.part' -o -name '*.tmp-*')" ] || fail "$2 left half a file"
}

# The others: those with a state save it, none leaves half an output.
before=$(cksum work/sft/* work/reward/* work/policy/* | sort)
sed -e 's/^steps: .*/steps: 100000/' -e 's#work/sft#again-sft#' "$root/examples/02_sft.yaml" >long.yaml
interrupt work/finetune.jsonl 02_sft long.yaml
[ -d work/state-finetune ] && [ ! -e again-sft ] || fail '02_sft on Ctrl-C'
sed -e 's/^steps: .*/steps: 100000/' -e 's#work/reward$#again-reward#' -e 's/^held_out: .*/held_out: 8/' \
    "$root/examples/05_reward.yaml" >long.yaml
interrupt work/reward.jsonl 05_reward long.yaml
[ -d work/state-reward ] && [ ! -e again-reward ] || fail '05_reward on Ctrl-C'
sed -e 's/^iterations: .*/iterations: 100000/' -e 's#work/policy#again-policy#' \
    -e 's/^evaluate_every: .*/evaluate_every: 100000/' -e 's/^batch: .*/batch: 8/' \
    -e 's/^held_out: .*/held_out: 8/' "$root/examples/06_ppo.yaml" >long.yaml
interrupt work/ppo.jsonl 06_ppo long.yaml
[ -d work/state-ppo ] || fail '06_ppo on Ctrl-C'
i=0
while [ "$i" -lt 100 ]; do
    cat work/data/prompts_ppo.jsonl
    i=$((i + 1))
done >many.jsonl
printf 'model: work/sft\nprompts: many.jsonl\noutput: many-answers.jsonl\nanswers: 1\n' >long.yaml
interrupt stop.err 03_generate long.yaml
[ ! -e many-answers.jsonl ] || fail '03_generate on Ctrl-C'
[ "$(cksum work/sft/* work/reward/* work/policy/* | sort)" = "$before" ] ||
    fail 'Ctrl-C damaged a folder'
rm -rf work/state-*
echo 'ok: Ctrl-C in the others'

# A full disk: a message, and the folder that was there stays whole.
before=$(cksum work/sft/* | sort)
if (trap '' XFSZ && ulimit -f 100 && "$programs/02_sft" 02_sft.yaml >/dev/null 2>disk.err); then
    fail 'a full disk is not noticed'
fi
grep -q 'cannot save.*work/sft' disk.err || fail "a full disk says: $(cat disk.err)"
[ "$(cksum work/sft/* | sort)" = "$before" ] || fail 'a full disk damaged the old folder'
# A folder that is not there yet does not appear with a tokenizer alone.
sed 's#work/sft#fresh#' 02_sft.yaml >fresh.yaml
if (trap '' XFSZ && ulimit -f 100 && "$programs/02_sft" fresh.yaml >/dev/null 2>disk.err); then
    fail 'a full disk is not noticed'
fi
[ ! -e fresh ] && [ ! -e fresh.part ] || fail 'a full disk left half a folder'
echo 'ok: full disk'

# The game, where C++ was there to build it: applause grows from chance (0.125), what was played is
# kept, and Ctrl-C keeps it too.
if [ -x "$programs/game_loop" ]; then
    "$programs/game_loop" 20 danced >game.out || fail 'game_loop'
    grep -q 'ratio off by 0 at first' game.out || fail "game_loop: $(cat game.out)"
    awk '/applause/ {last = $4} END {exit !(last > 0.5)}' game.out ||
        fail "game_loop does not learn: $(cat game.out)"
    [ -f danced/model.safetensors ] || fail 'game_loop kept nothing'
    : >stop.out
    "$programs/game_loop" 1000000 stopped >stop.out &
    child=$!
    tries=0
    while [ ! -s stop.out ]; do
        sleep 0.1
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || fail 'game_loop does not begin'
    done
    kill -INT "$child"
    wait "$child" || fail 'game_loop on Ctrl-C'
    [ -f stopped/model.safetensors ] || fail 'game_loop on Ctrl-C kept nothing'
    echo 'ok: game_loop'
fi
