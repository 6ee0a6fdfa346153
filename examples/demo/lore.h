/* The little world of the demo: who there is, how they feel, what they want, and which
 * words go with which. world.c writes texts from it; gold.c judges answers by it. No
 * trainer sees it. */
#ifndef DEMO_LORE_H
#define DEMO_LORE_H

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const char *const lore_names[] = {
    "Mia",  "Tom",  "Ann", "Ben", "Eva",  "Sam",  "Lily", "Max",  "Nora", "Paul",
    "Rosa", "Finn", "Ida", "Leo", "Emma", "Otto", "Zoe",  "Hugo", "Vera", "Karl"};

/* A mood and the words that suit one who has it. */
static const struct {
    const char *name, *phrases[3];
} lore_moods[] = {
    {"sad", {"Oh dear", "There there", "Chin up"}},
    {"happy", {"How lovely", "Hooray", "What fun"}},
    {"angry", {"Stay calm", "Easy now", "Take a breath"}},
    {"afraid", {"Be brave", "Never fear", "You are safe"}},
    {"tired", {"Rest first", "Go slowly", "No hurry"}},
    {"proud", {"Well done", "Bravo", "Good work"}},
};

/* A wish, what helps with it, and where it is done. */
static const struct {
    const char *name, *objects[3], *places[2];
} lore_wishes[] = {
    {"paint", {"brush", "paper", "easel"}, {"studio", "attic"}},
    {"bake", {"flour", "butter", "spoon"}, {"kitchen", "bakery"}},
    {"fish", {"rod", "net", "bucket"}, {"river", "pond"}},
    {"read", {"book", "lamp", "glasses"}, {"library", "armchair"}},
    {"plant", {"seeds", "spade", "rake"}, {"garden", "field"}},
    {"sew", {"needle", "thread", "cloth"}, {"workshop", "parlour"}},
};

static const char *const lore_days[] = {
    "It is Monday.",   "It is Sunday.",   "It is raining.", "It is snowing.",
    "The sun shines.", "The wind blows.", "It is early.",   "It is late."};

#endif
