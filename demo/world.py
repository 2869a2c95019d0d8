"""The world of the demo: who receives mail, where their servers stand, who has which address.

Everything is under .test (RFC 6761) and on loopback, so that no mistake can reach a real server. The same seed
gives the same world. Used by make_list.py for the list and by demo.py for DNS, limits and receivers.
"""
import random

SEED = 20261124
SENDER = "kawaraban.test"  # who sends
RECIPIENTS = 10_000
TAIL_DOMAINS = 2_000

# name: (addresses of its receiver, [(domain, share of the list)], MX hosts)
PROVIDERS = {
    "bigmail": (["127.0.0.2", "127.0.0.3"], [("bigmail.test", 0.37), ("bigmail-jp.test", 0.03)],
                ["mx1.bigmail.test", "mx2.bigmail.test"]),
    "postbox": (["127.0.0.4"], [("postbox.test", 0.08), ("inbox.test", 0.03)], ["in.postbox.test"]),
    "yubin": (["127.0.0.5"], [("yubin.test", 0.07)], ["mx.yubin.test"]),
    "keitai": (["127.0.0.6"], [("keitai.test", 0.012)], ["mail.keitai.test"]),
}
# The long tail: two hosting companies have most of it, the rest have servers of their own.
HOSTING = {"hosting-east": (["127.0.0.7"], "mx.hosting-east.test"), "hosting-west": (["127.0.0.8"], "mx.hosting-west.test")}
OWN_SERVERS = "127.0.0.9"
NULL_MX, NO_DOMAIN = "no-mail-here.test", "closed-last-year.test"
NULL_MX_RECIPIENTS, NO_DOMAIN_RECIPIENTS = 12, 20

ADDRESSES = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.7", "127.0.0.8", "127.0.0.9"]

FAMILY_JA = ["佐藤", "鈴木", "高橋", "田中", "伊藤", "渡辺", "山本", "中村", "小林", "加藤", "吉田", "山田", "髙島", "斎藤"]
GIVEN_JA = ["陽菜", "蓮", "結衣", "大翔", "葵", "湊", "美咲", "悠真", "さくら", "健太", "花子", "太郎", "ひかり", "翼"]
FAMILY_WEST = ["Smith", "Müller", "O'Brien", "García", "Novák", "Dubois", "Rossi", "Andersson", "Brown", "Kowalski"]
GIVEN_WEST = ["Anna", "José", "Zoë", "Liam", "Chloé", "Noah", "Søren", "Maria", "Jürgen", "Emma", "Łukasz", "Olivia"]
ROMAJI = ["sato", "suzuki", "takahashi", "tanaka", "ito", "watanabe", "yamamoto", "nakamura", "kobayashi", "kato"]
WORDS_A = ["aoba", "midori", "north", "river", "sakura", "blue", "harbor", "yama", "stone", "green", "hoshi", "umi"]
WORDS_B = ["works", "shop", "books", "farm", "design", "clinic", "tools", "bakery", "studio", "denki"]


def tail_domains():
    """[(domain, MX host, address of that host)]: names of small companies, in a fixed order."""
    dice = random.Random(SEED)
    hosts = list(HOSTING.values())
    found = []
    for number in range(TAIL_DOMAINS):
        name = f"{dice.choice(WORDS_A)}-{dice.choice(WORDS_B)}-{number}.test"
        if dice.random() < 0.8:
            addresses, host = hosts[0 if dice.random() < 0.6 else 1]
            found.append((name, host, addresses[0]))
        else:
            found.append((name, f"mail.{name}", OWN_SERVERS))
    return found


def person(dice):
    """(name, language, the beginning of a local part)"""
    if dice.random() < 0.6:
        return dice.choice(FAMILY_JA) + " " + dice.choice(GIVEN_JA), "ja", dice.choice(ROMAJI)
    family = dice.choice(FAMILY_WEST)
    plain = family.encode("ascii", "ignore").decode().lower().replace("'", "") or "user"
    return dice.choice(GIVEN_WEST) + " " + family, "en", plain


def recipients():
    """[(address, name, language, points)], in the mixed order of a real list."""
    dice = random.Random(SEED + 1)
    domains = []
    for _, shares, _ in PROVIDERS.values():
        for domain, share in shares:
            domains += [domain] * int(RECIPIENTS * share)
    domains += [NULL_MX] * NULL_MX_RECIPIENTS + [NO_DOMAIN] * NO_DOMAIN_RECIPIENTS
    tail = [domain for domain, _, _ in tail_domains()]
    domains += tail  # each of them has at least one
    while len(domains) < RECIPIENTS:
        domains.append(tail[int(len(tail) * dice.random() ** 3)])
    dice.shuffle(domains)
    out = []
    for number, domain in enumerate(domains):
        name, language, local = person(dice)
        out.append((f"{local}.{number}@{domain}", name, language, dice.randrange(0, 5000, 10)))
    return out


def zone(sender_records):
    """The zone test. with MX and addresses of everybody, and the sender's own records."""
    lines = list(sender_records)
    for addresses, shares, hosts in PROVIDERS.values():
        for domain, _ in shares:
            lines += [f"{domain}. MX {10 * (n + 1)} {host}." for n, host in enumerate(hosts)]
        lines += [f"{host}. A {addresses[n % len(addresses)]}" for n, host in enumerate(hosts)]
    for addresses, host in HOSTING.values():
        lines.append(f"{host}. A {addresses[0]}")
    for domain, host, address in tail_domains():
        lines.append(f"{domain}. MX 10 {host}.")
        if host.endswith(domain):
            lines.append(f"{host}. A {address}")
    lines.append(f"{NULL_MX}. MX 0 .")
    return "\n".join(lines) + "\n"
