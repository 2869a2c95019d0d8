"""Lists as people have them: each kind of bad input has one answer, and it says what to do.

The table drives `hikyaku list import`, which is the import that `send` uses, and reads the segment back through
`list export`; the last cases send from a pipe and judge at the receiver.
"""
import csv
import hashlib
import io
import json
import os
import subprocess
import threading
import unittest

import harness
from harness import BUILD, Done, die_with_parent

HIKYAKU = os.path.join(BUILD, "hikyaku")


class Lists(harness.Case):
    def run_words(self, *words, stdin=subprocess.DEVNULL, data=None):
        given = {"stdin": stdin} if data is None else {"input": data}
        done = subprocess.run([HIKYAKU, *words], **given, capture_output=True, timeout=60, preexec_fn=die_with_parent)
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def take(self, data, *more, expect=0, words="", name="list.csv"):
        """Import bytes; the rows that come out (as dictionaries) and the rejected ones."""
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(data)
        return self.take_file(path, *more, expect=expect, words=words)

    def take_file(self, path, *more, expect=0, words="", **how):
        out, rejected = self.path("out.seg"), self.path("rejected.csv")
        for old in (out, rejected):
            if os.path.exists(old):
                os.unlink(old)
        done = self.run_words("list", "import", "--list", path, "--out", out, "--rejected", rejected, *more, **how)
        self.assertEqual(done.status, expect, done.err)
        self.assertIn(words, done.err)
        self.assertEqual([f for f in os.listdir(self.dir) if f.endswith((".tmp", ".spill"))], [])
        if expect != 0:
            self.assertFalse(os.path.exists(out))
            self.assertEqual(done.out, "")
            return done
        with open(rejected, encoding="utf-8", newline="") as f:
            reasons = [(int(row["row"]), row["reason"]) for row in csv.DictReader(f)]
        exported = self.run_words("list", "export", "--list", out)
        self.assertEqual(exported.status, 0, exported.err)
        return list(csv.DictReader(io.StringIO(exported.out, newline=""))), reasons

    def emails(self, data, *more, **how):
        rows, reasons = self.take(data, *more, **how)
        return [row["email"] for row in rows], reasons

    # ---- bytes and lines ----

    def test_a_byte_order_mark_is_no_part_of_the_first_name(self):
        rows, reasons = self.take(b"\xef\xbb\xbfemail,name\r\na@x.test,A\r\n")
        self.assertEqual((rows, reasons), ([{"email": "a@x.test", "name": "A"}], []))

    def test_crlf_lf_cr_and_a_missing_last_line_end_are_line_ends(self):
        self.assertEqual(self.emails(b"email\r\na@x.test\nb@x.test\rc@x.test\r\n\r\nd@x.test"),
                         (["a@x.test", "b@x.test", "c@x.test", "d@x.test"], []))

    def test_quotes_hold_commas_quotes_and_line_ends(self):
        rows, reasons = self.take(b'email,name\r\na@x.test,"A, ""B""\r\nC\nD"\r\nb@x.test,B\r\n')
        self.assertEqual([row["name"] for row in rows], ['A, "B"\r\nC\nD', "B"])
        self.assertEqual(reasons, [])

    def test_a_quote_that_never_closes_names_the_line_where_it_opened(self):
        self.take(b'email,name\na@x.test,A\nb@x.test,"B\nc@x.test,C\n', expect=2, words="list.csv:3: a quote opens here")

    def test_a_nul_rejects_its_row_and_a_binary_file_is_refused(self):
        self.assertEqual(self.emails(b"email,n\na@x.test,\0\nb@x.test,B\n"), (["b@x.test"], [(1, "NUL byte in the row")]))
        self.take(b"\x7fELF\0\0\0\0\nemail\n", expect=2, words="list.csv:1: not a text file")

    def test_a_field_of_a_megabyte_rejects_its_row_and_no_other(self):
        emails, reasons = self.emails(b"email,n\na@x.test," + b"x" * (1 << 20) + b"\nb@x.test,B\n")
        self.assertEqual((emails, reasons), (["b@x.test"], [(1, "a field is longer than 65536 bytes")]))

    def test_short_and_long_rows_are_rejected_with_both_numbers(self):
        emails, reasons = self.emails(b"email,a,b\na@x.test,1\nb@x.test,1,2\nc@x.test,1,2,3\n")
        self.assertEqual(emails, ["b@x.test"])
        self.assertEqual(reasons, [(1, "2 fields where the header has 3"), (3, "4 fields where the header has 3")])

    # ---- the header, the file ----

    def test_headers_that_cannot_be_used_are_refused_with_the_line(self):
        for data, words in ((b"mail,name\na@x.test,A\n", "list.csv:1: no column is named email"),
                            (b"email,n,n\na@x.test,1,2\n", 'list.csv:1: columns 2 and 3 have the same name "n"'),
                            (b"email,EMAIL\na@x.test,b@x.test\n", "list.csv:1: columns 1 and 2 have the same name"),
                            (b"\n\nemail\n", "list.csv:3: no rows behind the header"),
                            (b"", "list.csv:1: the list is empty; write a header row"),
                            (b"\xef\xbb\xbf", "list.csv:1: the list is empty")):
            with self.subTest(words):
                self.take(data, expect=2, words=words)

    def test_directories_missing_and_unreadable_files_are_refused(self):
        os.mkdir(self.path("folder"))
        self.take_file(self.path("folder"), expect=2, words="is a directory")
        self.take_file(self.path("gone.csv"), expect=2, words="gone.csv: cannot open the list: No such file")
        self.take_file(self.path("folder", "x", "y"), expect=2, words="cannot open the list")

    def test_an_existing_segment_is_never_written_over(self):
        self.write("there.seg", "mine")
        self.write("list.csv", "email\na@x.test\n")
        done = self.run_words("list", "import", "--list", self.path("list.csv"), "--out", self.path("there.seg"))
        self.assertEqual(done.status, 2)
        self.assertIn("is there already", done.err)
        with open(self.path("there.seg"), encoding="utf-8") as f:
            self.assertEqual(f.read(), "mine")

    def test_rejected_rows_never_take_the_place_of_the_list_or_of_a_device(self):
        rows = "email\nnonsense\na@x.test\n"
        self.write("list.csv", rows)
        os.mkfifo(self.path("pipe"))
        os.symlink("list.csv", self.path("link"))
        for name, words in (("list.csv", "is the list itself"), ("link", "is the list itself"), ("pipe", "no ordinary file")):
            done = self.run_words("list", "import", "--list", self.path("list.csv"), "--out", self.path("out.seg"),
                                  "--rejected", self.path(name))
            self.assertEqual(done.status, 2)
            self.assertIn(words, done.err)
        with open(self.path("list.csv"), encoding="utf-8") as f:
            self.assertEqual(f.read(), rows)
        self.assertFalse(os.path.exists(self.path("out.seg")))

    def test_a_list_that_grows_while_it_is_read_is_refused(self):
        with open(self.path("list.csv"), "wb") as f:
            f.write(b"email\n" + b"".join(b"u%d@x.test\n" % n for n in range(400000)))
        stop = threading.Event()

        def write_on():
            with open(self.path("list.csv"), "ab") as f:
                while not stop.wait(0.002):
                    f.write(b"x@x.test\n")
                    f.flush()

        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            self.take_file(self.path("list.csv"), expect=2, words="changed while it was read")
        finally:
            stop.set()
            writer.join()

    @unittest.skipUnless(os.geteuid() == 0, "a small disk takes root to mount")
    def test_a_disk_without_room_leaves_nothing_and_says_what_is_needed(self):
        small = self.path("small")
        os.mkdir(small)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "hikyaku-test", small], check=True)
        self.addCleanup(subprocess.run, ["umount", small], check=True)
        for rows, words in ((200000, r"cannot write: no room left on the disk"),
                            (500000, r"no room left on the disk for sorting the list; about 1[0-9][0-9] MB are needed")):
            with open(self.path("list.csv"), "wb") as f:
                f.write(b"email,x\n" + b"".join(b"u%d@x.test,%090d\n" % (n, n) for n in range(rows)))
            done = self.run_words("list", "import", "--list", self.path("list.csv"), "--out", small + "/out.seg")
            self.assertEqual(done.status, 3, done.err)
            self.assertRegex(done.err, words)
            self.assertEqual(os.listdir(small), [])
            self.assertGreater(os.statvfs(small).f_bavail * 4096, 7 << 20)

    # ---- encodings ----

    def test_excel_in_japan_gets_the_hint_and_the_hint_works(self):
        data = "email,氏名\r\ntaro@x.test,髙橋 太郎①\r\n".encode("cp932")
        self.take(data, expect=2, words="list.csv:1: the header row is not UTF-8; looks like Shift_JIS, as Excel in "
                                        "Japan saves it: add --encoding Shift_JIS")
        rows, reasons = self.take(data, "--encoding", "Shift_JIS")
        self.assertEqual((rows, reasons), ([{"email": "taro@x.test", "氏名": "髙橋 太郎①"}], []))

    def test_rows_that_are_no_utf8_are_rejected_and_the_hint_is_said_once(self):
        data = b"email,name\na@x.test,A\n" + "b@x.test,山田\nc@x.test,花子\n".encode("cp932")
        done_rows, reasons = self.take(data, words="the list looks like Shift_JIS")
        self.assertEqual([row["email"] for row in done_rows], ["a@x.test"])
        self.assertEqual(reasons, [(n, "not UTF-8; give the list's encoding with --encoding") for n in (2, 3)])

    def test_encodings_by_name(self):
        text = "email,name\r\na@x.test,表示ソ\r\n"
        for encoding in ("cp932", "euc-jp", "iso-2022-jp", "utf-16", "utf-16-le", "utf-8"):
            with self.subTest(encoding):
                name = {"cp932": "Shift_JIS", "utf-16-le": "UTF-16LE"}.get(encoding, encoding)
                rows, _ = self.take(text.encode(encoding), "--encoding", name)
                self.assertEqual(rows, [{"email": "a@x.test", "name": "表示ソ"}])
        self.take(b"email\na@x.test\n", "--encoding", "latin-klingon", expect=2, words="no such encoding is known")

    def test_excel_in_europe_writes_semicolons(self):
        for data in (b"email;name\r\na@x.test;M\xfcller, J\xfcrgen\r\n",
                     b"sep=;\r\nemail;name\r\na@x.test;M\xfcller, J\xfcrgen\r\n"):
            rows, reasons = self.take(data, "--encoding", "windows-1252")
            self.assertEqual((rows, reasons), ([{"email": "a@x.test", "name": "Müller, Jürgen"}], []))
        rows, _ = self.take(b"email\tname\na@x.test\tA,B\n")
        self.assertEqual(rows[0]["name"], "A,B")

    # ---- addresses ----

    def test_duplicates_differ_in_case_only_and_the_first_row_wins(self):
        rows, reasons = self.take(b"email,n\nTaro@X.test,1\ntARO@x.TEST,2\nother@x.test,3\nTARO@x.test,4\n")
        self.assertEqual([(row["email"], row["n"]) for row in rows], [("Taro@X.test", "1"), ("other@x.test", "3")])
        self.assertEqual(reasons, [])

    def test_international_domains_and_local_parts_are_taken(self):
        emails, reasons = self.emails("email\na@日本語.test\nA@xn--wgv71a119e.test\n用户@x.test\nb@bücher.test\n"
                                      "c@x..test\nd@-x.test\n".encode())
        self.assertEqual(emails, ["a@日本語.test", "用户@x.test", "b@bücher.test"])
        self.assertEqual([row for row, _ in reasons], [5, 6])
        shown = self.run_words("list", "show", "--list", self.path("out.seg"))
        for domain in ("xn--wgv71a119e.test", "xn--bcher-kva.test"):
            self.assertIn(domain, shown.out)

    def test_a_name_around_an_address_is_rejected_not_mended(self):
        emails, reasons = self.emails(b"email\nTaro <a@x.test>\n<b@x.test>\nc@x.test\n d@x.test \n")
        self.assertEqual(emails, ["c@x.test", "d@x.test"])
        self.assertEqual(reasons, [(n, "write only the address, without a name and without < >") for n in (1, 2)])

    def test_historic_local_parts_are_for_the_carriers_that_know_them(self):
        data = b"email\na..b@docomo.ne.jp\nc.@ezweb.ne.jp\n.d@docomo.ne.jp\ne..f@example.com\ng@docomo.ne.jp\n"
        emails, reasons = self.emails(data)
        self.assertEqual(emails, ["g@docomo.ne.jp"])
        self.dns({})
        self.configure()
        emails, reasons = self.emails(data, "--config", self.path("hikyaku.conf"))
        self.assertEqual(emails, ["a..b@docomo.ne.jp", ".d@docomo.ne.jp", "g@docomo.ne.jp", "c.@ezweb.ne.jp"])
        self.assertEqual([row for row, _ in reasons], [4])

    # ---- JSON Lines ----

    def test_json_lines_are_a_list_too(self):
        lines = [{"email": "a@x.test", "name": "山田 \"花\"", "n": 5, "vip": True, "x": None},
                 {"email": "b@x.test", "vip": False}, {"email": "A@X.test"}, {"email": "c@x.test", "new": 1},
                 {"email": "d@x.test", "name": ["D"]}, {"email": "e@x.test", "n": 1.5}]
        data = "\n".join(json.dumps(line, ensure_ascii=line["email"] == "a@x.test") for line in lines)
        rows, reasons = self.take(data.encode() + b'\nnot json\n{"email":"f@x.test","email":"g@x.test"}\n')
        self.assertEqual(rows, [{"email": "a@x.test", "name": "山田 \"花\"", "n": "5", "vip": "true", "x": ""},
                                {"email": "b@x.test", "name": "", "n": "", "vip": "", "x": ""},
                                {"email": "e@x.test", "name": "", "n": "1.5", "vip": "", "x": ""}])
        self.assertEqual([row for row, _ in reasons], [4, 5, 7, 8])
        self.assertEqual(reasons[0][1], 'key "new" is not among those of the first line')
        self.take(b"[" + data.encode() + b"]", expect=2, words="write one JSON object a line")

    # ---- standard input ----

    def test_a_pipe_is_a_list_and_says_what_is_missing_where_it_ends_early(self):
        rows, _ = self.take_file("-", data=b"email,n\na@x.test,1\n")
        self.assertEqual(rows, [{"email": "a@x.test", "n": "1"}])
        self.take_file("-", data=b"", expect=2, words="standard input:1: the list is empty")
        self.take_file("-", data=b'email,n\na@x.test,"A, and here the pipe', expect=2,
                       words="standard input:2: a quote opens here and never closes; close it, or double a quote that "
                             "belongs to the text (or what fed the list ended before its end)")

    def test_what_the_shell_hands_over_is_a_list(self):
        done = subprocess.run(["bash", "-c", 'exec "$0" list import --list <(printf "email\na@x.test\n") --out "$1"', HIKYAKU,
                               self.path("out.seg")], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 recipients", done.stdout)

    def test_a_terminal_is_no_list(self):
        ours, theirs = os.openpty()
        try:
            self.take_file("-", expect=2, words="standard input, which is a terminal", stdin=theirs)
        finally:
            os.close(ours)
            os.close(theirs)

    # ---- there and back ----

    def test_what_is_exported_imports_to_the_same_recipients(self):
        rows = [{"email": f"u{n}@d{n % 7}.test", "na;me": f'x, "{n}"\n', "=": "{" if n % 2 else ""} for n in range(3000)]
        text = io.StringIO(newline="")
        out = csv.DictWriter(text, rows[0])
        out.writeheader()
        out.writerows(rows)
        first, reasons = self.take(text.getvalue().encode())
        self.assertEqual(reasons, [])
        self.assertEqual(sorted(map(str, first)), sorted(map(str, rows)))
        exported = self.run_words("list", "export", "--list", self.path("out.seg")).out
        again, _ = self.take(exported.encode(), name="again.csv")
        self.assertEqual(again, first)
        shown = self.run_words("list", "show", "--list", self.path("out.seg"))
        self.assertEqual(shown.status, 0)
        self.assertRegex(shown.out, r"(?m)^columns +email, na;me, =$")
        self.assertRegex(shown.out, r"(?m)^recipients +3,000$")
        self.assertRegex(shown.out, r"(?m)^domains +7$")
        with open(self.path("out.seg"), "rb") as f:
            self.assertRegex(shown.out, rf"(?m)^sha256 +{hashlib.sha256(f.read()[:-40]).hexdigest()}$")

    def test_a_damaged_segment_is_refused(self):
        self.take(b"email\na@x.test\n")
        with open(self.path("out.seg"), "r+b") as f:
            f.seek(-60, os.SEEK_END)
            byte = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte[0] ^ 1]))
        for command in ("show", "export"):
            done = self.run_words("list", command, "--list", self.path("out.seg"))
            self.assertEqual((done.status, done.out), (2, ""))
            self.assertIn("the segment is damaged", done.err)

    # ---- send ----

    def send_from_pipe(self, data, expect, *more):
        self.write("message.eml", harness.MESSAGE)
        done = self.run_words("send", "--config", self.path("hikyaku.conf"), "--campaign", "c", "--list", "-", "--message",
                              self.path("message.eml"), *more, data=data)
        self.assertEqual(done.status, expect, done.err)
        return done

    def test_send_takes_its_list_from_a_pipe_and_holds_the_next_one_against_it(self):
        receiver = self.receiver("a")
        self.dns({"a.test": receiver})
        self.configure()
        data = "email,名\nu1@a.test,一\nu2@a.test,二\n".encode("cp932")
        self.send_from_pipe(data, 2)  # not UTF-8: refused, no campaign
        self.send_from_pipe(data, 0, "--encoding", "Shift_JIS")
        self.send_from_pipe(data, 0, "--encoding", "Shift_JIS")  # nothing left to do
        done = self.send_from_pipe(data + b"u3@a.test,x\n", 2, "--encoding", "Shift_JIS")
        self.assertIn("1 new addresses, 0 gone", done.err)
        self.stop_receivers()
        self.assertEqual(receiver.taken(), {"u1@a.test": 1, "u2@a.test": 1})


if __name__ == "__main__":
    harness.main()
