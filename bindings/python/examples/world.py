"""A small world, so that the examples need no data: who does what, how they feel, and a person who
likes to read of people in a good mood."""
import random

NAMES = ["Tom", "Mia", "Ben", "Ada", "Leo", "Eve"]
WISHES = {"fish": "goes to the lake", "read": "opens a book", "cook": "makes a soup",
          "sleep": "lies down", "sing": "sings a song", "run": "runs to the park"}
GOOD = ["happy", "glad", "calm"]
BAD = ["sad", "angry", "tired"]


def prompts(count, seed):
    draw = random.Random(seed)
    return [f"{draw.choice(NAMES)} wants to {draw.choice(list(WISHES))}." for _ in range(count)]


def answer(prompt, draw):
    name, wish = prompt.split()[0], prompt.split()[-1].rstrip(".")
    return f" {name} is {draw.choice(GOOD + BAD)} and {WISHES[wish]}."


def lines(count, seed):
    draw = random.Random(seed)
    return [prompt + answer(prompt, draw) for prompt in prompts(count, seed)]


def liking(text):
    words = text.replace(".", " ").split()
    return sum(word in GOOD for word in words) - sum(word in BAD for word in words)


def choose(first, second):
    """What the person says of two answers."""
    if liking(first) == liking(second):
        return "tie"
    return "first" if liking(first) > liking(second) else "second"
