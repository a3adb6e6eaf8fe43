"""A program that answers the vectors wrongly: `examples/ports/python/steps.py` with one thing done otherwise.

``bent_steps.py core NAME`` has a core with this mutant of the catalogue; ``bent_steps.py hand NAME`` one of the bends
below, each of which is given an answer and its question.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
right = runpy.run_path(str(ROOT / "examples/ports/python/steps.py"))["answers"]


def effects_in_reverse(answer, question):
    return answer | {"effects": answer["effects"][::-1]} if "effects" in answer else answer


def numbers_as_doubles(answer, question):
    def rounded(value):
        if isinstance(value, dict) and value.keys() == {"#bigint"}:
            return {"#bigint": str(int(float(value["#bigint"])))}
        if isinstance(value, dict):
            return {key: rounded(inner) for key, inner in value.items()}
        return [rounded(inner) for inner in value] if isinstance(value, list) else value

    return rounded(answer)


def rejects_with_a_word_of_its_own(answer, question):
    return {"rejected": "NO"} if "rejected" in answer else answer


def a_field_too_many(answer, question):
    return answer | {"state": answer["state"] | {"spare": 1}} if "state" in answer else answer


def everything_is_taken(answer, question):
    return {"state": question["state"], "effects": []} if "rejected" in answer and "state" in question else answer


def the_last_effect_is_forgotten(answer, question):
    return answer | {"effects": answer["effects"][:-1]} if answer.get("effects") else answer


def answers_twice(answer, question):
    print(json.dumps(answer))  # written with the second, in one piece
    return answer


def no_json(answer, question):
    sys.stdout.write("state: ")
    return answer


def dies_of_a_rejection(answer, question):
    if "rejected" in answer:
        sys.exit("panic: not implemented")
    return answer


def is_silent(answer, question):
    time.sleep(60)
    return answer


def dies_at_once(answer, question):
    os.kill(os.getpid(), 9)


def any_packet_is_a_message(answer, question):
    if answer.get("message", "") is None:
        return {"message": {"is": "Closed"}, "bytes": question["bytes"]}
    return answer


def looks_the_answers_up(answer, question):
    """It knows the files by heart, and no more."""
    return answer if not question["id"].startswith("fresh") else {"rejected": "ENDED"}


def main(how, name):
    asked = []

    def questions():
        for line in sys.stdin:
            asked.append(json.loads(line))
            yield line

    def answer():
        for each in right(questions()):
            bent = json.loads(each) if how == "core" else globals()[name](json.loads(each), asked.pop())
            print(json.dumps(bent), flush=True)

    if how == "core":
        from proofs.mutation.core import CATALOGUE

        with CATALOGUE[name].mutated():
            answer()
    else:
        answer()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    # What is printed before a flush is one write, however long, so that the kit reads it in one piece.
    # (The standard stream would not do so where PYTHONUNBUFFERED is set.)
    sys.stdout = os.fdopen(1, "w", 1 << 20, closefd=False)
    main(*sys.argv[1:])
