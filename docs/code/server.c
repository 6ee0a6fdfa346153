/* One frozen model, many clients: a line in is a prompt, its answer streams back.
 *
 *     ./server MODEL SOCKET
 *
 * Each request has a generator of its own, and each generator is stepped once a round, so
 * that nobody waits for somebody else's long answer. */
#include <rlhf/rlhf.h>

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_CLIENTS = 64, LINE = 1024, IDS = 1024 };

typedef struct client {
    int fd;      /* -1: this place is free */
    int gone;    /* the other end has hung up */
    size_t used; /* bytes heard and not yet answered */
    char line[LINE];
    rlhf_generator *generator; /* NULL: no answer under way */
} client;

typedef struct server {
    rlhf_tokenizer *tokenizer;
    rlhf_model *model;
    int listener;
    uint64_t requests;
    client clients[MAX_CLIENTS];
} server;

static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

/* New text goes straight to its client; a client that is not there ends the sequence. */
static int32_t send_text(void *user_data, int64_t sequence_id, const char *text,
                         size_t size)
{
    client *c = user_data;

    (void)sequence_id;
    c->gone |= send(c->fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)size;
    return c->gone;
}

static rlhf_status start_answer(server *s, client *c, size_t size)
{
    rlhf_generator_options options;
    int32_t ids[IDS + 1];
    int64_t ends[2] = {0, 0}, count;
    rlhf_status status;

    if (rlhf_tokenizer_bos_id(s->tokenizer) >= 0) /* as in training */
        ids[ends[1]++] = rlhf_tokenizer_bos_id(s->tokenizer);
    status =
        rlhf_tokenizer_encode(s->tokenizer, c->line, size, 0, ids + ends[1], IDS, &count);
    if (status != RLHF_OK)
        return status;
    ends[1] += count;
    status = rlhf_generator_options_init(&options, sizeof options);
    if (status != RLHF_OK)
        return status;
    options.max_new_tokens = 48;
    options.seed = s->requests++; /* another request, other dice */
    options.tokenizer = s->tokenizer;
    options.text = send_text;
    options.text_user_data = c;
    status = rlhf_generator_create(s->model, NULL, &options, &c->generator);
    if (status != RLHF_OK)
        return status;
    return rlhf_generator_start(c->generator, ids, ends, 1, NULL);
}

/* The answer is over, or could not be begun: the client hears why. */
static void end_answer(client *c, rlhf_status status)
{
    char words[600] = "\n";

    if (status != RLHF_OK)
        snprintf(words, sizeof words, "error: %s\n", rlhf_last_error_message());
    send(c->fd, words, strlen(words), MSG_NOSIGNAL | MSG_DONTWAIT);
    rlhf_generator_free(c->generator);
    c->generator = NULL;
}

static void hang_up(client *c)
{
    rlhf_generator_free(c->generator); /* an answer under way is given up */
    close(c->fd);
    *c = (client){.fd = -1};
}

static void hear(client *c)
{
    const size_t room = LINE - 1 - c->used;
    const ssize_t got = recv(c->fd, c->line + c->used, room, MSG_DONTWAIT);

    c->gone |= got <= 0; /* hung up, or a line that is too long */
    if (got > 0)
        c->used += (size_t)got;
}

/* A whole line is a request, once the answer before is over. */
static void take_request(server *s, client *c)
{
    const char *end = memchr(c->line, '\n', c->used);

    if (!end || c->generator)
        return;
    const size_t size = (size_t)(end - c->line);
    const rlhf_status status = start_answer(s, c, size);
    c->used -= size + 1;
    memmove(c->line, end + 1, c->used);
    if (status != RLHF_OK)
        end_answer(c, status);
}

static void welcome(server *s)
{
    const int fd = accept(s->listener, NULL, NULL);

    for (int i = 0; i < MAX_CLIENTS && fd >= 0; i++)
        if (s->clients[i].fd < 0) {
            s->clients[i] = (client){.fd = fd};
            return;
        }
    if (fd >= 0)
        close(fd);
}

/* Hears everybody, then gives each answer under way one more token. */
static void serve_round(server *s)
{
    struct pollfd polls[MAX_CLIENTS + 1] = {{.fd = s->listener, .events = POLLIN}};
    int busy = 0;

    for (int i = 0; i < MAX_CLIENTS; i++) {
        polls[i + 1] = (struct pollfd){.fd = s->clients[i].fd, .events = POLLIN};
        busy |= s->clients[i].generator != NULL;
    }
    if (poll(polls, MAX_CLIENTS + 1, busy ? 0 : -1) < 0)
        return;
    if (polls[0].revents)
        welcome(s);
    for (int i = 0; i < MAX_CLIENTS; i++) {
        client *c = &s->clients[i];
        int64_t active = 0;
        if (c->fd < 0)
            continue;
        if (polls[i + 1].fd == c->fd && polls[i + 1].revents)
            hear(c);
        if (c->generator && !c->gone) {
            const rlhf_status status = rlhf_generator_step(c->generator, &active);
            if (status != RLHF_OK || active == 0)
                end_answer(c, status);
        }
        if (!c->gone)
            take_request(s, c);
        if (c->gone)
            hang_up(c);
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    unlink(path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, MAX_CLIENTS) != 0) {
        perror(path);
        return -1;
    }
    return fd;
}

int main(int argc, char **argv)
{
    static server s;
    rlhf_context *context = NULL;
    const struct sigaction action = {.sa_handler = stop};
    int failed = 1;

    if (argc != 3) {
        fprintf(stderr, "usage: server MODEL SOCKET\n");
        return 2;
    }
    for (int i = 0; i < MAX_CLIENTS; i++)
        s.clients[i].fd = -1;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (rlhf_context_create(NULL, &context) == RLHF_OK &&
        rlhf_model_load(context, argv[1], &s.model) == RLHF_OK &&
        rlhf_tokenizer_load(context, argv[1], &s.tokenizer) == RLHF_OK) {
        s.listener = listen_at(argv[2]);
        failed = s.listener < 0;
        while (!failed && !stopping)
            serve_round(&s);
    } else {
        fprintf(stderr, "server: %s\n", rlhf_last_error_message());
    }
    for (int i = 0; i < MAX_CLIENTS; i++)
        if (s.clients[i].fd >= 0)
            hang_up(&s.clients[i]);
    rlhf_tokenizer_free(s.tokenizer);
    rlhf_model_free(s.model);
    rlhf_context_free(context);
    return failed;
}
