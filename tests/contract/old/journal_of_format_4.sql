BEGIN TRANSACTION;
CREATE TABLE "commands" (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    verb TEXT NOT NULL,
    at REAL NOT NULL,
    job TEXT NOT NULL,
    inbox BLOB,
    relative BLOB
) STRICT;
INSERT INTO "commands" VALUES(1,'retry',1700000002.25,'in-failed',NULL,NULL);
CREATE TABLE "holds" (
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    inbox BLOB NOT NULL,
    relative BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (kind, inbox, relative, sha256)
) STRICT;
INSERT INTO "holds" VALUES('paused',1700000000.0,X'2F7372762F657870616E642F73686F702F696E626F78',X'','');
INSERT INTO "holds" VALUES('again',1700000001.5,X'',X'','abababababababababababababababababababababababababababababababab');
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    closed INTEGER NOT NULL,
    held INTEGER NOT NULL,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    outbox BLOB NOT NULL,
    done BLOB NOT NULL,
    error BLOB NOT NULL,
    name TEXT NOT NULL,
    preset TEXT NOT NULL,
    originals TEXT NOT NULL,
    relative BLOB NOT NULL,
    device TEXT NOT NULL,
    inode TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    format TEXT,
    width INTEGER,
    height INTEGER,
    orientation INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    "top" INTEGER NOT NULL,
    "bottom" INTEGER NOT NULL,
    "left" INTEGER NOT NULL,
    "right" INTEGER NOT NULL,
    image_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    link TEXT NOT NULL,
    notifications TEXT NOT NULL,
    result_sha256 TEXT,
    result_bytes INTEGER,
    result_format TEXT,
    result_width INTEGER,
    result_height INTEGER,
    expected_width INTEGER,
    expected_height INTEGER,
    target BLOB,
    resting BLOB,
    fault TEXT,
    message TEXT,
    what_to_do TEXT,
    note TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    uploads INTEGER NOT NULL,
    stamps TEXT NOT NULL,
    changed REAL NOT NULL
, duplicates TEXT NOT NULL DEFAULT 'expand', sidecar INTEGER NOT NULL DEFAULT 0, reused_from TEXT NOT NULL DEFAULT '', duplicate_of TEXT NOT NULL DEFAULT '', strikes INTEGER NOT NULL DEFAULT 0) STRICT;
INSERT INTO "jobs" VALUES('in-claimed','claimed',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'','','','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',0,0,0,'[["claimed", 1800000000.0]]',1800000000.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-uploaded','uploaded',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-uploaded','','','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0]]',1800000001.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-submitting','submitting',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-submitting','','','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["submitting", 1800000002.0]]',1800000002.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-accepted','accepted',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-accepted','','','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["submitting", 1800000002.0], ["accepted", 1800000003.0]]',1800000003.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-unknown','unknown',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-unknown','','','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["submitting", 1800000002.0], ["unknown", 1800000003.0]]',1800000003.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-rendered','rendered',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-rendered','','https://links.example/in-rendered','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["submitting", 1800000002.0], ["accepted", 1800000003.0], ["rendered", 1800000004.0]]',1800000004.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-downloaded','downloaded',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-downloaded','','https://links.example/in-downloaded','[]','abababababababababababababababababababababababababababababababab',12,'png',140,100,140,100,NULL,NULL,NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["submitting", 1800000002.0], ["accepted", 1800000003.0], ["rendered", 1800000004.0], ["downloaded", 1800000005.0]]',1800000005.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-delivered','delivered',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-delivered','','https://links.example/in-delivered','[]','abababababababababababababababababababababababababababababababab',12,'png',140,100,140,100,X'2F7372762F686F742F6F7574626F782F696D6167652E706E67',NULL,NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["submitting", 1800000002.0], ["accepted", 1800000003.0], ["rendered", 1800000004.0], ["downloaded", 1800000005.0], ["delivered", 1800000006.0]]',1800000006.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-done','done',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-done','','https://links.example/in-done','[]','abababababababababababababababababababababababababababababababab',12,'png',140,100,140,100,X'2F7372762F686F742F6F7574626F782F696D6167652E706E67',X'2F7372762F686F742F646F6E652F696D6167652E706E67',NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["submitting", 1800000002.0], ["accepted", 1800000003.0], ["rendered", 1800000004.0], ["downloaded", 1800000005.0], ["delivered", 1800000006.0], ["done", 1800000007.0]]',1800000007.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-failed','failed',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-failed','','','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'refused_by_api','The API refused this image.','Save it again and drop that.','',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["submitting", 1800000002.0], ["failed", 1800000003.0]]',1800000003.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('in-returned','returned',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',3,4,'png',100,80,1,'',10,10,20,20,'image-of-in-returned','','','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',0,0,1,'[["claimed", 1800000000.0], ["uploaded", 1800000001.0], ["returned", 1800000002.0]]',1800000002.0,'expand',0,'','',0);
INSERT INTO "jobs" VALUES('everything','done',1,1,'host-a',3,X'2F7372762F636166E92FE697A520FF2E706E672F696E626F78',X'2F7372762F636166E92FE697A520FF2E706E672F6F7574626F78',X'2F7372762F636166E92FE697A520FF2E706E672F646F6E65',X'2F7372762F636166E92FE697A520FF2E706E672F6572726F72','{stem}-é{ext}','w"ide
','delete',X'636166E92FE697A520FF2E706E67','18446744073709551615','18446744073709551614',1099511627776,-4611686018427387904,'webp',7,9,6,'cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd',-1,2,-3,4,'image ü','task','https://links.example/a?b=c','[7, 1099511627776]','abababababababababababababababababababababababababababababababab',12,'jpeg',3,4,140,100,X'2F6F75742F636166E92FE697A520FF2E706E67',X'2F646F6E652F636166E92FE697A520FF2E706E67','not_whole','a "message"
','do','a note',1,2,3,'[["claimed", 1800000000.123], ["done", 1800000001.456789]]',1.80000000145678901676e+09,'reuse',1,'in-done','in-delivered',4);
INSERT INTO "jobs" VALUES('nothing-known','claimed',0,0,'',0,X'2F7372762F686F742F696E626F78',X'2F7372762F686F742F6F7574626F78',X'2F7372762F686F742F646F6E65',X'2F7372762F686F742F6572726F72','{stem}{ext}','wide','move',X'696D6167652E706E67','1','2',0,0,NULL,NULL,NULL,1,'',0,0,0,0,'','','','[]',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'',0,0,0,'[["claimed", 1800000000.0]]',1800000000.0,'expand',0,'','',0);
CREATE TABLE ledger (
    inbox BLOB NOT NULL,
    day TEXT NOT NULL,
    paid INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    unknown INTEGER NOT NULL,
    saved INTEGER NOT NULL,
    PRIMARY KEY (inbox, day)
) STRICT;
INSERT INTO "ledger" VALUES(X'2F7372762F6F6C642F696E626F78','1970-01-01',1,1,0,0,0);
CREATE TABLE payments (
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "payments" VALUES('everything',0,X'2F7372762F636166E92FE697A520FF2E706E672F696E626F78',1800000000.125,'refused');
INSERT INTO "payments" VALUES('everything',1,X'2F7372762F636166E92FE697A520FF2E706E672F696E626F78',1800000000.25,'not_made');
INSERT INTO "payments" VALUES('everything',2,X'2F7372762F636166E92FE697A520FF2E706E672F696E626F78',1800000000.5,'taken');
INSERT INTO "payments" VALUES('in-accepted',0,X'2F7372762F686F742F696E626F78',1800000002.0,'taken');
INSERT INTO "payments" VALUES('in-delivered',0,X'2F7372762F686F742F696E626F78',1800000002.0,'taken');
INSERT INTO "payments" VALUES('in-done',0,X'2F7372762F686F742F696E626F78',1800000002.0,'taken');
INSERT INTO "payments" VALUES('in-downloaded',0,X'2F7372762F686F742F696E626F78',1800000002.0,'taken');
INSERT INTO "payments" VALUES('in-failed',0,X'2F7372762F686F742F696E626F78',1800000002.0,'refused');
INSERT INTO "payments" VALUES('in-rendered',0,X'2F7372762F686F742F696E626F78',1800000002.0,'taken');
INSERT INTO "payments" VALUES('in-submitting',0,X'2F7372762F686F742F696E626F78',1800000002.0,'sent');
INSERT INTO "payments" VALUES('in-unknown',0,X'2F7372762F686F742F696E626F78',1800000002.0,'sent');
CREATE INDEX over_jobs ON jobs (changed) WHERE closed = 1;
CREATE INDEX open_jobs ON jobs (id) WHERE closed = 0;
CREATE INDEX by_image_id ON jobs (image_id) WHERE image_id != '';
CREATE INDEX by_relative ON jobs (relative);
CREATE INDEX by_content ON jobs (sha256) WHERE state = 'done';
CREATE INDEX failed_jobs ON jobs (id) WHERE state = 'failed';
CREATE INDEX differing_jobs ON jobs (id) WHERE result_width != expected_width OR result_height != expected_height;
CREATE INDEX payments_at ON payments (at);
CREATE INDEX duplicates_paid ON jobs (changed) WHERE duplicate_of != '';
CREATE VIEW counted_payments AS SELECT job, inbox, at FROM payments WHERE outcome IN ('sent', 'taken');
CREATE VIEW whole_jobs AS
    SELECT jobs.*, (SELECT json_group_array(json_array(number, at, outcome)) FROM payments WHERE job = jobs.id)
        AS payments
    FROM jobs;
CREATE VIEW job_lines AS
    SELECT job AS id, inbox, date(at, 'unixepoch', 'localtime') AS day,
           1 AS paid, 0 AS delivered, 0 AS failed, 0 AS unknown, 0 AS saved
    FROM counted_payments
    UNION ALL
    SELECT id, inbox, date(changed, 'unixepoch', 'localtime'), 0, state = 'done' AND target IS NOT NULL,
           state = 'failed', state = 'unknown', state = 'done' AND reused_from != ''
    FROM jobs WHERE closed = 1 OR state = 'unknown';
CREATE VIEW ledger_lines AS
    SELECT inbox, day, paid, delivered, failed, unknown, saved FROM job_lines
    UNION ALL
    SELECT inbox, day, paid, delivered, failed, unknown, saved FROM ledger;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('commands',1);
COMMIT;
PRAGMA user_version = 4;
