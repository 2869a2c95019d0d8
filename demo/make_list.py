#!/usr/bin/python3
"""Write the demo's list: 10,000 people, some of them twice, and a few rows that no list is without.

Usage: make_list.py FILE
"""
import csv
import sys

import world

BAD_ROWS = ["Hanako Yamada <hanako@bigmail.test>", "no-at-sign.bigmail.test", "two@@bigmail.test", "blank @bigmail.test",
            "taro@localhost"]


def main():
    people = world.recipients()
    with open(sys.argv[1], "w", encoding="utf-8", newline="") as f:
        out = csv.writer(f)
        out.writerow(["email", "name", "japanese", "points"])
        for number, (address, name, language, points) in enumerate(people):
            out.writerow([address, name, "1" if language == "ja" else "", f"{points:,}"])
            if number % 500 == 499:  # somebody who signed up twice
                out.writerow([address.upper(), name, "", "0"])
        for bad in BAD_ROWS:
            out.writerow([bad, "?", "", "0"])


if __name__ == "__main__":
    main()
