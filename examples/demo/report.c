#include "report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "steps.h"

/* --- figures ------------------------------------------------------------------------ */

static void write_json(const report *r, FILE *f)
{
    fprintf(
        f,
        "{\"mode\": \"%s\", \"seed\": %ld, \"pairs\": %d, \"rm_accuracy\": %.4f, "
        "\"rm_accuracy_ceiling\": %.4f, \"rm_q\": %.4f, \"rm_q_linear\": %.4f, "
        "\"gold_before\": %.4f, \"gold_after\": %.4f, \"win_rate\": %.4f, "
        "\"win_rate_low\": %.4f, \"kl\": %.3f, \"seconds\": %.1f, \"peak_rss_mib\": %.0f",
        r->mode, r->seed, r->reward.pairs, r->reward.accuracy, r->reward.ceiling,
        r->reward.q, r->reward.linear, r->policy.gold_before, r->policy.gold_after,
        r->policy.win_rate, r->policy.low, r->policy.kl, r->seconds, r->peak_rss_mib);
    if (r->has_tilt)
        fprintf(f, ", \"static_bias_win_rate\": %.4f", r->tilt.win_rate);
    if (r->has_controls)
        fprintf(f,
                ", \"flipped_win_rate\": %.4f, \"flipped_reward_rise\": %.4f, "
                "\"constant_win_rate\": %.4f, \"constant_low\": %.4f, "
                "\"constant_high\": %.4f, \"constant_kl\": %.3f, "
                "\"coin_accuracy\": %.4f, \"coin_interval\": %.4f",
                r->flipped.win_rate, r->flipped_rise, r->constant.win_rate,
                r->constant.low, r->constant.high, r->constant.kl, r->coin.rate,
                r->coin.interval);
    if (strcmp(r->mode, "human") == 0)
        fprintf(f, ", \"blind_after\": %d, \"blind_before\": %d, \"blind_ties\": %d",
                r->blind_after, r->blind_before, r->blind_ties);
    fputs("}", f);
}

static void print_controls(const report *r)
{
    printf(
        "\nControls\n"
        "  sign flipped      win rate %.3f (at most 0.2 wanted), its own reward %+.2f\n"
        "                    unique words %.2f, distinct pairs %.2f of before\n"
        "  constant reward   win rate %.3f (%.3f to %.3f), KL %.3f\n"
        "                    unique words %.2f, distinct pairs %.2f of before\n"
        "  coin choices      accuracy %.3f +- %.3f on other throws (0.5 wanted)\n",
        r->flipped.win_rate, r->flipped_rise, r->flipped.unique_ratio,
        r->flipped.distinct2_ratio, r->constant.win_rate, r->constant.low,
        r->constant.high, r->constant.kl, r->constant.unique_ratio,
        r->constant.distinct2_ratio, r->coin.rate, r->coin.interval);
}

void report_print(const report *r)
{
    const policy_quality *p = &r->policy;

    printf("\nPairs chosen        %d\n", r->reward.pairs);
    printf("Reward model        accuracy %.3f +- %.3f of %.3f that the noise leaves: q = "
           "%.3f (linear %.3f); %.3f with prompts shuffled\n",
           r->reward.accuracy, r->reward.interval, r->reward.ceiling, r->reward.q,
           r->reward.linear, r->reward.shuffled);
    printf("Gold score          %.3f before, %.3f after\n", p->gold_before,
           p->gold_after);
    printf("Win rate            %.3f (%.3f to %.3f), %d prompts, temperature 1\n",
           p->win_rate, p->low, p->high, p->prompts);
    printf("KL from reference   %.2f nats an answer\n", p->kl);
    printf("Answers end by EOS  %.1f%% before, %.1f%% after; %.1f and %.1f tokens\n",
           100 * p->stopped_before, 100 * p->stopped_after, p->length_before,
           p->length_after);
    printf(
        "Fluency             unique words %.2f, distinct pairs of words %.2f of before\n",
        p->unique_ratio, p->distinct2_ratio);
    if (r->has_tilt)
        printf("Static token bias   win rate %.3f at equal KL\n", r->tilt.win_rate);
    if (r->has_controls)
        print_controls(r);
    if (strcmp(r->mode, "human") == 0)
        printf("Your verdict        after %d, before %d, ties %d\n", r->blind_after,
               r->blind_before, r->blind_ties);
    for (int i = 0; i < 3 && i < r->after->count; i++)
        printf("\n  %s\n    before: %s\n    after:  %s\n", r->after->rows[i].prompt,
               r->before->rows[i].text, r->after->rows[i].text);
    printf("\nTime %.0f s, most memory of a stage %.0f MiB, everything in %s "
           "(report.html)\n\n",
           r->seconds, r->peak_rss_mib, step_folder());
    fputs("RESULT ", stdout);
    write_json(r, stdout);
    fputs("\n", stdout);
}

/* --- the page ----------------------------------------------------------------------- */

static void escape(FILE *f, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            fputs("&lt;", f);
        else if (*text == '&')
            fputs("&amp;", f);
        else if (*text == '>')
            fputs("&gt;", f);
        else
            fputc(*text, f);
    }
}

typedef struct curve {
    double x[4096], y[4096];
    int count;
} curve;

/* The numbers behind `"KEY": ` of lines that hold `marker`, over those behind x_key. */
static void read_curve(const char *name, const char *marker, const char *x_key,
                       const char *key, curve *out)
{
    FILE *file = fopen(step_path("metrics/%s.jsonl", name), "r");
    char line[2048], wanted[64], wanted_x[64];

    out->count = 0;
    snprintf(wanted, sizeof wanted, "\"%s\": ", key);
    snprintf(wanted_x, sizeof wanted_x, "\"%s\": ", x_key);
    while (file && fgets(line, sizeof line, file) && out->count < 4096) {
        const char *y = strstr(line, wanted), *x = strstr(line, wanted_x);
        if (!y || !x || !strstr(line, marker))
            continue;
        out->x[out->count] = strtod(x + strlen(wanted_x), NULL);
        out->y[out->count++] = strtod(y + strlen(wanted), NULL);
    }
    if (file)
        fclose(file);
}

/* A figure of its own: axes with their ends marked, one line, means over buckets where
 * points are dense. */
static void draw(FILE *f, const char *title, const char *unit, const curve *c)
{
    enum {
        W = 420,
        H = 200,
        LEFT = 56,
        RIGHT = 12,
        TOP = 12,
        BOTTOM = 30,
        BUCKETS = 180
    };
    double low = INFINITY, high = -INFINITY;
    const int step = c->count > BUCKETS ? (c->count + BUCKETS - 1) / BUCKETS : 1;

    fprintf(f, "<figure><figcaption>%s</figcaption>", title);
    if (c->count < 2) {
        fputs("<p>too few points</p></figure>\n", f);
        return;
    }
    double y[4096], x[4096];
    int n = 0;
    for (int i = 0; i < c->count; i += step, n++) {
        double sum = 0;
        int k = 0;
        for (; k < step && i + k < c->count; k++)
            sum += c->y[i + k];
        y[n] = sum / k;
        x[n] = c->x[i + k - 1];
        low = fmin(low, y[n]);
        high = fmax(high, y[n]);
    }
    if (high - low < 1e-9)
        high = low + 1;
    fprintf(f, "<svg viewBox='0 0 %d %d' role='img' aria-label='%s'>", W, H, title);
    fprintf(f, "<path class='axis' d='M%d %dV%dH%d'/>", LEFT, TOP, H - BOTTOM, W - RIGHT);
    for (int i = 0; i <= 2; i++) {
        const double value = low + (high - low) * i / 2;
        const double at = H - BOTTOM - (H - BOTTOM - TOP) * i / 2.0;
        fprintf(f,
                "<path class='grid' d='M%d %.1fH%d'/><text x='%d' y='%.1f' class='left'>"
                "%.3g</text>",
                LEFT, at, W - RIGHT, LEFT - 6, at + 4, value);
    }
    fprintf(
        f,
        "<text x='%d' y='%d'>%.0f</text><text x='%d' y='%d' class='left'>%.0f %s</text>",
        LEFT, H - 10, x[0], W - RIGHT, H - 10, x[n - 1], unit);
    fputs("<polyline points='", f);
    for (int i = 0; i < n; i++)
        fprintf(f, "%.1f,%.1f ",
                LEFT + (W - LEFT - RIGHT) * (x[i] - x[0]) / fmax(1, x[n - 1] - x[0]),
                H - BOTTOM - (H - BOTTOM - TOP) * (y[i] - low) / (high - low));
    fputs("'/></svg></figure>\n", f);
}

static const char *const style =
    "<style>:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;"
    "max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2rem}"
    ".cards{display:flex;flex-wrap:wrap;gap:.8rem}"
    ".card{border:1px solid #8886;border-radius:.5rem;padding:.6rem 1rem;min-width:9rem}"
    ".card b{display:block;font-size:1.5rem}"
    ".plots{display:flex;flex-wrap:wrap;gap:1rem}"
    "figure{margin:0;width:27rem;max-width:100%}"
    "figcaption{font-weight:600}svg{width:100%}"
    "polyline{fill:none;stroke:#2a78c2;stroke-width:2}"
    ".axis{fill:none;stroke:#888}.grid{stroke:#8883}text{font-size:11px;fill:#888}"
    ".left{text-anchor:end}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;vertical-align:top;padding:.4rem .6rem;"
    "border-bottom:1px solid #8884}</style>";

static void card(FILE *f, const char *figure, const char *what)
{
    fprintf(f, "<div class=card><b>%s</b>%s</div>\n", figure, what);
}

static void write_cards(const report *r, FILE *f)
{
    char text[64];

    fputs("<div class=cards>\n", f);
    snprintf(text, sizeof text, "%d", r->reward.pairs);
    card(f, text, "pairs chosen");
    snprintf(text, sizeof text, "%.2f", r->reward.q);
    card(f, text, "reward quality q (1: as good as the noise lets)");
    snprintf(text, sizeof text, "%.2f &rarr; %.2f", r->policy.gold_before,
             r->policy.gold_after);
    card(f, text, "mean gold score");
    snprintf(text, sizeof text, "%.1f%%", 100 * r->policy.win_rate);
    card(f, text, "win rate against before");
    snprintf(text, sizeof text, "%.1f", r->policy.kl);
    card(f, text, "KL from the reference, nats");
    snprintf(text, sizeof text, "%.0f s", r->seconds);
    card(f, text, "on this machine");
    fputs("</div>\n", f);
}

static void write_plots(FILE *f)
{
    static curve c;

    fputs("<h2>Training</h2><div class=plots>\n", f);
    read_curve("pretrain", "loss", "step", "loss", &c);
    if (c.count > 0)
        draw(f, "Pretraining loss, nats a token", "steps", &c);
    read_curve("finetune", "loss", "step", "loss", &c);
    draw(f, "Fine-tuning loss, nats a token", "steps", &c);
    read_curve("reward", "accuracy", "step", "accuracy", &c);
    draw(f, "Reward model: accuracy on training pairs", "steps", &c);
    read_curve("policy", "\"ppo\"", "iteration", "score", &c);
    draw(f, "PPO: mean score of the reward model", "iterations", &c);
    read_curve("policy", "\"ppo\"", "iteration", "kl", &c);
    draw(f, "PPO: KL from the reference, nats an answer", "iterations", &c);
    read_curve("policy", "ppo_held_out", "iteration", "score", &c);
    draw(f, "PPO: score on held-out prompts", "iterations", &c);
    fputs("</div>\n", f);
}

static void write_answers(const report *r, FILE *f)
{
    fputs("<h2>Before and after</h2><table><tr><th>Prompt<th>Before<th>After</tr>\n", f);
    for (int i = 0; i < 25 && i < r->after->count; i++) {
        fputs("<tr><td>", f);
        escape(f, r->after->rows[i].prompt);
        fputs("<td>", f);
        escape(f, r->before->rows[i].text);
        fputs("<td>", f);
        escape(f, r->after->rows[i].text);
        fputs("</tr>\n", f);
    }
    fputs("</table>\n", f);
}

static FILE *open_output(const char *name)
{
    FILE *file = fopen(step_path("%s", name), "w");

    if (!file)
        step_die("cannot write %s: %s", step_path("%s", name), strerror(errno));
    return file;
}

static void close_output(FILE *file, const char *name)
{
    const int bad = ferror(file);

    if (fclose(file) != 0 || bad)
        step_die("cannot write %s: %s", step_path("%s", name), strerror(errno));
}

void report_write(const report *r)
{
    FILE *f = open_output("result.json");

    write_json(r, f);
    fputs("\n", f);
    close_output(f, "result.json");
    f = open_output("report.html");
    fprintf(
        f,
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
        "content='width=device-width'><title>librlhf demo</title>%s\n<h1>A model learns "
        "what a person prefers</h1><p>Mode %s, seed %ld. Figures are of %d prompts that "
        "no stage has seen, both models sampled at temperature 1; the win rate's 95%% "
        "interval is %.1f%% to %.1f%%.</p>\n",
        style, r->mode, r->seed, r->policy.prompts, 100 * r->policy.low,
        100 * r->policy.high);
    write_cards(r, f);
    write_plots(f);
    write_answers(r, f);
    fputs("</html>\n", f);
    close_output(f, "report.html");
}
