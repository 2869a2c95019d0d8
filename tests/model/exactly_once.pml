/* exactly_once.pml - dispatch, commit, outcome, death, takeover and merge, for the model checker spin.
 *
 * Two nodes (master, worker, one flight slot, rings, event log), two recipients in one span, one Redis, one receiver.
 * Every process is a loop of atomic steps, so what dies may die between any two of them; a stopped one is one whose steps
 * do not come. What is modelled, what is left out, and how to read a trace: docs/model.md.
 *
 * A rule is taken out by -D and its name: NO_CAS, TAIL_BEFORE_SLOT, WRITE_BEFORE_PHASE, LEDGER_BEFORE_LINE,
 * TAKE_WITHOUT_LEASE, RELEASE_BY_LATER_EPOCH, NO_CALL_NUMBERS, REFUSED_IS_FINAL. check.py says what is found then.
 */
#ifndef KILLS
#define KILLS 1   /* of a worker or a master */
#endif
#ifndef CRASHES
#define CRASHES 0 /* of a machine: its master, its worker, its region and the end of its event log */
#endif
#ifndef LAPSES
#define LAPSES 1  /* a span taken from a node that lives: it was stopped past its lease, and goes on */
#endif
#ifndef CUTS
#define CUTS 1    /* a call whose answer is lost, or whose bytes arrive late, after it was sent again; a grant too late */
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2 /* the last 4xx is a bounce, so that every run ends */
#endif

mtype = { SEND, GRANT, DENY, ASK, DONE };      /* descriptors: enum desc_kind */
mtype = { COMMIT, OUTCOME, RELEASE };          /* ops: enum ledger_op_kind */
mtype = { APPLIED, REFUSED, NOT_OURS };        /* enum ledger_verdict */
mtype = { FREE, TAKEN, DOT, FINISHED };        /* enum flight_phase */
mtype = { IDLE, COPIED, ENVELOPE, ASKING, GRANTED, STORED, WRITTEN, SETTLED }; /* how far a worker's message is */

/* A recipient's state, in the order of RANK in ledger.lua; the last two are results of a flight alone. */
#define PENDING 1
#define DEFERRED 2
#define SENDING 3
#define UNKNOWN 4
#define BOUNCED 5
#define SENT 6
#define RETURNED 7
#define DENIED 8

/* Redis */
byte word[2] = PENDING, had[2];      /* state and attempts of each recipient */
byte owner = 1, epochs = 2;          /* of the span; the last epoch drawn */
typedef late_call { mtype kind; byte r, attempt, state, granted, epoch; bool old };
late_call late;                      /* bytes of a lost connection that are still under way; old: later calls came first */

/* The receiver; what the judge remembers */
byte accepted[2];
bool dot_stored[2], excused[2], logs_torn;

typedef node_state {
    /* in files: it outlives the processes */
    mtype phase;                     /* the flight slot, and what stands in it */
    byte slot_r, slot_attempt, slot_result;
    byte region_epoch, settled;      /* of the region; of the last one that was believed and settled */
    bool other_boot;                 /* the region is of another boot */
    byte line[2];                    /* evidence that the event log has of a recipient */
    /* the master's memory */
    bool up, settling, wants_span;
    byte epoch;
    byte queued[2];                  /* attempts + 1 of who waits in a queue */
    byte hold, hold_attempt;         /* who has the slot, + 1 */
    bool over, asked;                /* his flight is over; a commit was asked, and not refused */
    byte told;                       /* LEDGER_BEFORE_LINE: the line that is still to be written */
    /* the worker's memory */
    bool works;
    mtype at;
    byte mail_r, mail_attempt, reply;
};
node_state node[2];
#define me node[n]
#define name 'A' + n
#define who '1' + r
#define held (me.hold - 1)
chan down[2] = [2] of { mtype, byte, byte };            /* kind, recipient, attempt */
chan upward[2] = [2] of { mtype };
chan ops[2] = [2] of { mtype, byte, byte, byte };       /* kind, recipient, attempt, state */

byte kills, crashes, lapses, cuts;
byte r, attempt, state, granted, by, result;
mtype kind, v;

#define broken(words) printf(words); assert(false)

/* ---- Redis: state/ledger.lua, take.lua. The op (kind, r, attempt, state, granted) of epoch `by` gives v ---- */

#ifdef RELEASE_BY_LATER_EPOCH
#define may_undo (owner <= by)
#else
#define may_undo (owner == granted)
#endif
#define is_evidence (state == UNKNOWN || state == BOUNCED || state == SENT)
/* An `unknown` told again must not undo that somebody was made to wait after it. */
#define is_told_again (state == UNKNOWN && word[r] != SENDING && attempt <= had[r])

inline apply(n)
{
    v = REFUSED;
    if
#ifdef NO_CAS
    :: kind == COMMIT -> word[r] = SENDING; had[r] = attempt; v = APPLIED
#else
    :: kind == COMMIT && owner != by -> v = NOT_OURS
    :: kind == COMMIT && owner == by && word[r] == SENDING && had[r] == attempt -> v = APPLIED
    :: kind == COMMIT && owner == by && word[r] <= DEFERRED && attempt > had[r] ->
        word[r] = SENDING; had[r] = attempt; v = APPLIED
#endif
    :: kind == RELEASE && may_undo && word[r] == SENDING && had[r] == attempt ->
        had[r] = attempt - 1; word[r] = (had[r] > 0 -> DEFERRED : PENDING); v = APPLIED
    :: kind == RELEASE && may_undo && word[r] <= DEFERRED && had[r] < attempt -> v = APPLIED
    :: kind == OUTCOME && is_evidence && state > word[r] && !is_told_again ->
        word[r] = state; had[r] = (attempt > had[r] -> attempt : had[r]); v = APPLIED
    :: kind == OUTCOME && state == DEFERRED && may_undo && word[r] <= SENDING && attempt >= had[r] &&
       (word[r] != DEFERRED || attempt > had[r]) ->
        word[r] = DEFERRED; had[r] = attempt; v = APPLIED
    :: else
    fi;
    printf("  Redis, to %c: %e, recipient %c, attempt %d (epoch %d): %e. In the ledger: 1 is [%d] after %d, 2 is [%d] after %d\n",
           name, kind, who, attempt, by, v, word[0], had[0], word[1], had[1]);
    if
    :: word[r] == SENT && accepted[r] == 0 -> broken("VIOLATED I3: sent in the ledger, and nobody accepted him\n")
    :: v == APPLIED && kind == OUTCOME && state >= BOUNCED && !logs_torn && node[0].line[r] != state &&
       node[1].line[r] != state ->
        broken("VIOLATED I7: the ledger has an outcome that no event log has\n")
    :: else
    fi
}

/* A lease is out some time after its node has died, or while it is stopped: then another may take what was its. */
#define owner_lives ((node[0].up && node[0].epoch == owner) || (node[1].up && node[1].epoch == owner))
#ifdef TAKE_WITHOUT_LEASE
#define may_take true
#else
#define may_take (!owner_lives || lapses > 0)
#endif

inline take(n)
{
    printf("  Redis, to %c: TAKE by epoch %d from epoch %d%c\n", name, me.epoch, owner,
           (owner_lives && owner != me.epoch -> '!' : '.'));
    for (r : 0 .. 1) {
        if
        :: owner != me.epoch && word[r] == SENDING ->
            word[r] = UNKNOWN; excused[r] = excused[r] || (me.settled != owner && (!owner_lives || lapses > 0))
        :: else
        fi;
        if
        :: word[r] <= DEFERRED && me.queued[r] == 0 && me.hold != r + 1 -> me.queued[r] = had[r] + 1
        :: else
        fi
    }
    r = 0; lapses = lapses - (owner != me.epoch && owner_lives && lapses > 0 -> 1 : 0);
    owner = me.epoch; me.wants_span = false
}

#define forget_op kind = 0; r = 0; attempt = 0; state = 0; granted = 0; by = 0; v = 0

/* {c}:q knows the number of each epoch's last call: what was sent before that one does nothing. */
#ifdef NO_CALL_NUMBERS
#define is_outrun false
#else
#define is_outrun (late.kind != 0 && late.epoch == me.epoch)
#endif

inline apply_first(n)
{
    ops[n] ? <kind, r, attempt, state>;
    by = me.epoch; granted = me.region_epoch; apply(n); late.old = late.old || is_outrun
}

active proctype Redis()
{
    byte n;

end:
    do
    :: d_step { late.kind != 0 ->
        kind = late.kind; r = late.r; attempt = late.attempt; state = late.state; granted = late.granted; by = late.epoch;
        n = (node[0].epoch == by || node[0].region_epoch == by -> 0 : 1);
        printf("Redis: bytes of a lost connection of %c arrive%c\n", name, (late.old -> '.' : ':'));
        if
        :: !late.old -> apply(n);
            /* A commit that its master's death overtook: to the ledger it is a body like any other. */
            excused[r] = excused[r] || (kind == COMMIT && v == APPLIED)
        :: else
        fi;
        late.kind = 0; late.r = 0; late.attempt = 0; late.state = 0; late.granted = 0; late.epoch = 0; late.old = false;
        n = 0; forget_op }
    od
}

/* ---- the worker: worker/letter.c, dialogue.c, worker.c ---- */

inline keep(n, what)
{
    me.slot_result = what; me.phase = FINISHED; me.at = SETTLED
}

inline copy_to_slot(n)
{
    me.slot_r = me.mail_r; me.slot_attempt = me.mail_attempt; me.phase = TAKEN
}

/* Recipient 2 is there so that slot, ring and span are used again: his receiver only takes. */
#define is_fickle (me.mail_r == 0)

/* The last byte is with the receiver: what he makes of it, and what we hear. */
inline write_last_byte(n)
{
    if
    :: accepted[me.mail_r]++; me.reply = SENT
    :: is_fickle -> accepted[me.mail_r]++; me.reply = UNKNOWN /* the reply is lost */
    :: is_fickle -> me.reply = UNKNOWN           /* the message is */
    :: is_fickle -> me.reply = (me.mail_attempt < ATTEMPTS -> DEFERRED : BOUNCED)
    fi;
    printf("worker %c: writes the last byte to recipient %c; accepted so far: %d, the answer: [%d]\n", name,
           '1' + me.mail_r, accepted[me.mail_r], me.reply);
    if
    :: accepted[me.mail_r] > 1 -> broken("VIOLATED I1: accepted twice\n")
    :: else
    fi
}

inline store_dot(n)
{
#ifdef TAIL_BEFORE_SLOT
    copy_to_slot(n);
#endif
    me.phase = DOT; dot_stored[me.mail_r] = true;
    printf("worker %c: stores the phase dot for recipient %c\n", name, '1' + me.mail_r)
}

inline end_worker(n)
{
    me.works = false; me.at = IDLE; me.mail_r = 0; me.mail_attempt = 0; me.reply = 0
}

proctype Worker(byte n)
{
end:
    do
    /* letter_take() */
    :: d_step { me.works && me.up && me.at == IDLE && down[n] ? [SEND, _, _] ->
#ifdef TAIL_BEFORE_SLOT
        down[n] ? _, me.mail_r, me.mail_attempt; me.at = ENVELOPE;
        printf("worker %c: moves the tail behind recipient %c, attempt %d\n", name, '1' + me.mail_r, me.mail_attempt) }
    :: d_step { me.works && me.phase == FREE && (me.at == ENVELOPE || me.at == ASKING || me.at == GRANTED) ->
        copy_to_slot(n);
        printf("worker %c: copies recipient %c to the slot\n", name, '1' + me.mail_r) }
#else
        down[n] ? <_, me.mail_r, me.mail_attempt>; copy_to_slot(n); me.at = COPIED;
        printf("worker %c: copies recipient %c, attempt %d, to the slot\n", name, '1' + me.mail_r, me.mail_attempt) }
    :: d_step { me.works && me.at == COPIED -> down[n] ? SEND, _, _; me.at = ENVELOPE;
        printf("worker %c: moves the tail behind him\n", name) }
#endif
    /* on_rcpt(), op_commit() */
    :: d_step { me.works && me.up && me.at == ENVELOPE && nfull(upward[n]) -> upward[n] ! ASK; me.at = ASKING;
        printf("worker %c: RCPT is accepted, asks for the commit of recipient %c\n", name, '1' + me.mail_r) }
    :: d_step { me.works && me.up && me.at == ENVELOPE && is_fickle && me.mail_attempt < ATTEMPTS -> keep(n, DEFERRED);
        printf("worker %c: RCPT of recipient %c is refused (4xx), the slot says so\n", name, '1' + me.mail_r) }
    /* worker_answer() */
    :: d_step { me.works && me.up && down[n] ? [GRANT, _, _] -> down[n] ? GRANT, _, _;
        if
        :: me.at == ASKING -> me.at = GRANTED; printf("worker %c: is granted recipient %c\n", name, '1' + me.mail_r)
        :: else
        fi }
    :: d_step { me.works && me.up && down[n] ? [DENY, _, _] -> down[n] ? DENY, _, _;
        if
        :: me.at == ASKING -> keep(n, DENIED);
            printf("worker %c: is denied recipient %c, holds the dot back\n", name, '1' + me.mail_r)
        :: else
        fi }
    /* dialogue_dot_leaves(), then the write */
#ifdef WRITE_BEFORE_PHASE
    :: atomic { me.works && me.up && me.at == GRANTED -> me.at = STORED; write_last_byte(n) }
    :: d_step { me.works && me.at == STORED -> me.at = WRITTEN; store_dot(n) }
#else
    :: d_step { me.works && me.up && me.at == GRANTED -> me.at = STORED; store_dot(n) }
    :: atomic { me.works && me.at == STORED -> me.at = WRITTEN; write_last_byte(n) }
#endif
    /* on_dot(), letter_settle() */
    :: d_step { me.works && me.at == WRITTEN -> keep(n, me.reply); me.reply = 0;
        printf("worker %c: keeps the outcome of recipient %c in the slot: [%d]\n", name, '1' + me.mail_r, me.slot_result) }
    :: d_step { me.works && me.up && me.at == SETTLED && nfull(upward[n]) ->
        upward[n] ! DONE; me.at = IDLE; me.mail_r = 0; me.mail_attempt = 0 }
    /* worker_orphaned(): without a master no dot leaves; node.orphan later at the latest it has ended */
    :: d_step { me.works && !me.up -> end_worker(n); printf("worker %c: ends after its master\n", name) }
    od
}

/* ---- the master: master/dispatch.c, outcome.c, children.c, settle.c, node.c ---- */

inline clear_rings(n)
{
    do
    :: nempty(down[n]) -> down[n] ? _, _, _
    :: nempty(upward[n]) -> upward[n] ? _
    :: empty(down[n]) && empty(upward[n]) -> break
    od
}

inline free_slot(n)
{
    me.phase = FREE; me.slot_r = 0; me.slot_attempt = 0; me.slot_result = 0
}

inline let_go(n)
{
    if
    :: !me.settling -> free_slot(n)
    :: else /* the old region stays as it is until all of it is settled */
    fi;
    me.hold = 0; me.hold_attempt = 0; me.over = false; me.asked = false
}

inline write_line(n, what)
{
    if
    :: what >= BOUNCED -> me.line[held] = what;
        printf("master %c: writes the line of recipient %c: [%d]\n", name, '1' + held, what)
    :: else
    fi
}

/* What the ledger refuses is not as we thought: final, or further than we know. The span is read again. */
#ifdef REFUSED_IS_FINAL
#define READ_AGAIN false
#else
#define READ_AGAIN true
#endif

/* What the slot of a dead worker means. */
#define result_of_slot (me.phase == DOT -> UNKNOWN : (me.phase == FINISHED -> me.slot_result : RETURNED))

/* flight_done(), flight_orphan(), settle_flight(): the line, and then the op; both go out with this turn. */
inline flight_ends(n)
{
    me.over = true;
    if
    :: result <= SENT -> ops[n] ! OUTCOME, held, me.hold_attempt, result;
#ifdef LEDGER_BEFORE_LINE
        me.told = result
#else
        write_line(n, result)
#endif
    :: result > SENT && (me.settling || (result == RETURNED && me.asked)) ->
        ops[n] ! RELEASE, held, me.hold_attempt, 0
    :: result == RETURNED && !me.settling && !me.asked -> me.queued[held] = me.hold_attempt; let_go(n)
    :: result == DENIED && !me.settling -> let_go(n); me.wants_span = me.wants_span || READ_AGAIN
    fi;
    result = 0
}

/* verdict_commit(), verdict_flight() */
inline obey(n)
{
    ops[n] ? _, _, _, _;
    if
    :: kind == COMMIT && v == APPLIED && !me.over -> down[n] ! GRANT, 0, 0
    :: kind == COMMIT && v != APPLIED && !me.over -> down[n] ! DENY, 0, 0; me.asked = false
    :: kind == RELEASE && v == APPLIED && !me.settling -> me.queued[r] = attempt; let_go(n)
    :: kind == RELEASE && (v != APPLIED || me.settling) -> let_go(n)
    :: kind == OUTCOME && me.hold == r + 1 -> let_go(n)
    :: else
    fi;
    if /* span_read_again(): he is due later, or he is not as we thought; another's span does not wait in our queues */
    :: !me.settling && ((kind == OUTCOME && state == DEFERRED) || v == NOT_OURS ||
                        (kind == RELEASE && v == REFUSED && READ_AGAIN)) -> me.wants_span = true
    :: else
    fi;
    if
    :: v == NOT_OURS -> me.queued[0] = 0; me.queued[1] = 0
    :: else
    fi
}

inline end_master(n)
{
    do
    :: nempty(ops[n]) -> ops[n] ? _, _, _, _
    :: empty(ops[n]) -> break
    od;
    me.up = false; me.settling = false; me.wants_span = false; me.told = 0;
    me.queued[0] = 0; me.queued[1] = 0;
    me.hold = 0; me.hold_attempt = 0; me.over = false; me.asked = false
}

proctype Master(byte n)
{
end:
    do
    /* node_start(): started again, it waits for the workers' lock, then settles the old region */
    :: d_step { !me.up && !me.works ->
        epochs++; me.epoch = epochs; me.up = true; me.settling = true;
        printf("master %c: starts as epoch %d; its slot: %e, recipient %c, attempt %d\n", name, me.epoch, me.phase,
               '1' + me.slot_r, me.slot_attempt);
        if
        :: me.other_boot -> /* journal_replay() */
            for (r : 0 .. 1) {
                if
                :: me.line[r] != 0 -> ops[n] ! OUTCOME, r, 1, me.line[r]
                :: else
                fi
            }
            r = 0
        :: !me.other_boot && me.phase != FREE ->
            me.hold = me.slot_r + 1; me.hold_attempt = me.slot_attempt; result = result_of_slot; flight_ends(n)
        :: else
        fi }
    :: d_step { me.up && me.settling && me.hold == 0 && empty(ops[n]) ->
        me.settling = false; me.settled = (me.other_boot -> 0 : me.region_epoch); me.other_boot = false;
        me.region_epoch = me.epoch; free_slot(n); clear_rings(n);
        me.wants_span = true; me.works = true;
        printf("master %c: the old region is settled, forks a worker\n", name) }
    /* campaigns_refill(), on_taken(): from nobody, from the dead, or from one who was stopped past its lease */
    :: d_step { me.up && !me.settling && me.wants_span && empty(ops[n]) && (owner == me.epoch || may_take) ->
        take(n) }
    /* send_one() */
    :: d_step { me.up && me.works && !me.settling && me.hold == 0 && nfull(down[n]) && me.queued[0] + me.queued[1] > 0 ->
        me.hold = (me.queued[0] > 0 -> 1 : 2);
        me.hold_attempt = me.queued[held]; me.queued[held] = 0; down[n] ! SEND, held, me.hold_attempt;
        printf("master %c: sends recipient %c, attempt %d, down the ring\n", name, '1' + held, me.hold_attempt) }
    /* worker_read() */
    :: d_step { me.up && !me.settling && upward[n] ? [ASK] && nfull(ops[n]) -> upward[n] ? ASK;
        me.asked = true; ops[n] ! COMMIT, held, me.hold_attempt, 0 }
    :: d_step { me.up && !me.settling && upward[n] ? [DONE] && nfull(ops[n]) -> upward[n] ? DONE;
        result = me.slot_result; flight_ends(n) }
    /* worker_died(), on_respawn() */
    :: d_step { me.up && !me.works && !me.settling && me.hold > 0 && !me.over && empty(upward[n]) && nfull(ops[n]) ->
        printf("master %c: reads the dead worker's slot: %e\n", name, me.phase);
        result = result_of_slot; flight_ends(n) }
    :: d_step { me.up && !me.works && !me.settling && (me.hold == 0 || me.over) && empty(upward[n]) ->
        clear_rings(n); me.works = true;
        printf("master %c: forks a new worker\n", name) }
    /* ledger_flush(), and the answer. Only Redis is seen by others, so the two are one step, unless Fate wills otherwise. */
    :: d_step { me.up && nempty(ops[n]) && nfull(down[n]) && me.told == 0 -> apply_first(n); obey(n); forget_op }
#ifdef LEDGER_BEFORE_LINE
    :: d_step { me.up && me.told != 0 && nempty(ops[n]) -> apply_first(n); forget_op; write_line(n, me.told); me.told = 0 }
#endif
    od
}

/* ---- what may go wrong, at any moment ---- */

inline leave_late(n)
{
    ops[n] ? <late.kind, late.r, late.attempt, late.state>;
    late.granted = me.region_epoch; late.epoch = me.epoch; late.old = false; cuts--
}

proctype Fate(byte n)
{
end:
    do
    :: d_step { kills > 0 && me.works && me.up && me.hold > 0 -> kills--; end_worker(n);
        printf("FATE: worker %c is killed\n", name) }
    :: atomic { kills > 0 && me.up -> kills--;
        printf("FATE: master %c is killed\n", name);
        if
        :: cuts > 0 && late.kind == 0 && nempty(ops[n]) -> leave_late(n)
        :: nempty(ops[n]) -> d_step { apply_first(n); forget_op }
        :: true
        fi;
        end_master(n) }
    :: atomic { crashes > 0 && (me.up || me.works) -> crashes--; end_worker(n); end_master(n); me.other_boot = true;
        printf("FATE: machine %c goes down\n", name);
        if
        :: me.line[0] + me.line[1] > 0 -> me.line[0] = 0; me.line[1] = 0; logs_torn = true
        :: true
        fi }
    :: d_step { cuts > 0 && nempty(ops[n]) -> cuts--;
        printf("FATE: the next answer of Redis to %c is lost, and it will ask again\n", name);
        apply_first(n); forget_op }
    :: d_step { cuts > 0 && late.kind == 0 && nempty(ops[n]) -> leave_late(n);
        printf("FATE: %c loses its connection, with %e of recipient %c, attempt %d, still under way; it asks again\n", name,
               late.kind, '1' + late.r, late.attempt) }
    :: d_step { cuts > 0 && me.works && me.at == ASKING && me.phase == TAKEN -> cuts--; keep(n, RETURNED);
        printf("FATE: worker %c has no grant within 20 s, gives recipient %c back\n", name, '1' + me.mail_r) }
    od
}

/* Nothing goes on any more: is everybody where he should be? */
active proctype Judge()
{
    timeout;
    for (r : 0 .. 1) {
        if
        :: word[r] < UNKNOWN -> broken("VIOLATED I2/I5: a recipient is stuck\n")
        :: accepted[r] > 0 && word[r] != SENT && word[r] != UNKNOWN ->
            broken("VIOLATED I4: accepted, and neither sent nor unknown\n")
        :: word[r] == UNKNOWN && !dot_stored[r] && !excused[r] ->
            broken("VIOLATED I4: unknown, and no dot of his was under way at any death\n")
        :: else
        fi
    }
}

/* A has taken the span, B waits for what may become of A. Fate may do all of its deeds, or fewer. */
init
{
    byte n;

    atomic {
        select (kills : 0 .. KILLS);
        select (crashes : 0 .. CRASHES);
        select (lapses : 0 .. LAPSES);
        select (cuts : 0 .. CUTS);
        for (n : 0 .. 1) {
            me.phase = FREE; me.at = IDLE; me.up = true; me.works = true;
            me.epoch = n + 1; me.region_epoch = n + 1;
            run Master(n); run Worker(n); run Fate(n)
        }
        n = 0; node[0].queued[0] = 1; node[0].queued[1] = 1; node[1].wants_span = true
    }
}
