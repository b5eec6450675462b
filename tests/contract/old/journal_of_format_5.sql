BEGIN TRANSACTION;
CREATE TABLE "commands" (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    verb TEXT NOT NULL,
    at REAL NOT NULL,
    job TEXT NOT NULL,
    inbox BLOB,
    relative BLOB
) STRICT;
CREATE TABLE "holds" (
    kind TEXT NOT NULL,
    at REAL NOT NULL,
    inbox BLOB NOT NULL,
    relative BLOB NOT NULL,
    sha256 TEXT NOT NULL,
    PRIMARY KEY (kind, inbox, relative, sha256)
) STRICT;
CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    closed INTEGER NOT NULL,
    held INTEGER NOT NULL,
    owner TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    relative BLOB NOT NULL,
    target BLOB,
    resting BLOB,
    sha256 TEXT NOT NULL,
    "top" INTEGER NOT NULL,
    "bottom" INTEGER NOT NULL,
    "left" INTEGER NOT NULL,
    "right" INTEGER NOT NULL,
    image_id TEXT NOT NULL,
    differs INTEGER,
    reused_from TEXT NOT NULL,
    duplicate_of TEXT NOT NULL,
    changed REAL NOT NULL,
    facts TEXT NOT NULL
) STRICT;
INSERT INTO "jobs" VALUES('first','delivered',0,0,'',0,X'2F7372762F686F742F696E626F78',X'696D6167652E706E67',X'2F7372762F686F742F6F7574626F782F696D6167652E706E67',NULL,'',10,10,20,20,'image-of-first',0,'','',1800000006.0,'{"id":"first","place":{"inbox":"/srv/hot/inbox","outbox":"/srv/hot/outbox","done":"/srv/hot/done","error":"/srv/hot/error","name":"{stem}{ext}","preset_name":"wide","originals":"move","duplicates":"expand","sidecar":false,"result":{"pixels":"auto","format":"auto","quality":95,"metadata":"keep"}},"relative":"image.png","source":{"identity":{"device":1,"inode":2,"size":3,"mtime_ns":4},"format":"png","size":{"width":100,"height":80},"orientation":1,"sha256":"","converts":false,"several":false,"metadata":false},"state":"delivered","owner":"","epoch":0,"offsets":{"top":10,"bottom":10,"left":20,"right":20},"image_id":"image-of-first","task_id":"","link":"https://links.example/first","notifications":[],"prepared":null,"result":{"sha256":"abababababababababababababababababababababababababababababababab","bytes":12,"format":"png","size":{"width":140,"height":100},"expected":{"width":140,"height":100}},"finished":null,"finish_failed":"","target":"/srv/hot/outbox/image.png","resting":null,"fault":null,"held":false,"note":"","attempts":0,"tries":0,"uploads":1,"strikes":0,"reused_from":"","duplicate_of":"","closed":false,"dismissed":false,"stamps":[{"state":"claimed","at":1800000000.0},{"state":"uploaded","at":1800000001.0},{"state":"submitting","at":1800000002.0},{"state":"accepted","at":1800000003.0},{"state":"rendered","at":1800000004.0},{"state":"downloaded","at":1800000005.0},{"state":"delivered","at":1800000006.0}]}');
INSERT INTO "jobs" VALUES('second','delivered',0,0,'',0,X'2F7372762F686F742F696E626F78',X'C384524745522E706E67',X'2F7372762F686F742F6F7574626F782F696D6167652E706E67',NULL,'',10,10,20,20,'image-of-second',0,'','',1800000006.0,'{"id":"second","place":{"inbox":"/srv/hot/inbox","outbox":"/srv/hot/outbox","done":"/srv/hot/done","error":"/srv/hot/error","name":"{stem}{ext}","preset_name":"wide","originals":"move","duplicates":"expand","sidecar":false,"result":{"pixels":"auto","format":"auto","quality":95,"metadata":"keep"}},"relative":"\u00c4RGER.png","source":{"identity":{"device":1,"inode":2,"size":3,"mtime_ns":4},"format":"png","size":{"width":100,"height":80},"orientation":1,"sha256":"","converts":false,"several":false,"metadata":false},"state":"delivered","owner":"","epoch":0,"offsets":{"top":10,"bottom":10,"left":20,"right":20},"image_id":"image-of-second","task_id":"","link":"https://links.example/second","notifications":[],"prepared":null,"result":{"sha256":"abababababababababababababababababababababababababababababababab","bytes":12,"format":"png","size":{"width":140,"height":100},"expected":{"width":140,"height":100}},"finished":null,"finish_failed":"","target":"/srv/hot/outbox/image.png","resting":null,"fault":null,"held":false,"note":"","attempts":0,"tries":0,"uploads":1,"strikes":0,"reused_from":"","duplicate_of":"","closed":false,"dismissed":false,"stamps":[{"state":"claimed","at":1800000000.0},{"state":"uploaded","at":1800000001.0},{"state":"submitting","at":1800000002.0},{"state":"accepted","at":1800000003.0},{"state":"rendered","at":1800000004.0},{"state":"downloaded","at":1800000005.0},{"state":"delivered","at":1800000006.0}]}');
INSERT INTO "jobs" VALUES('dismissed','failed',1,0,'',0,X'2F7372762F686F742F696E626F78',X'696D6167652E706E67',NULL,X'2F7372762F686F742F6572726F722F612E706E67','',10,10,20,20,'image-of-dismissed',NULL,'','',1800000003.0,'{"id":"dismissed","place":{"inbox":"/srv/hot/inbox","outbox":"/srv/hot/outbox","done":"/srv/hot/done","error":"/srv/hot/error","name":"{stem}{ext}","preset_name":"wide","originals":"move","duplicates":"expand","sidecar":false,"result":{"pixels":"auto","format":"auto","quality":95,"metadata":"keep"}},"relative":"image.png","source":{"identity":{"device":1,"inode":2,"size":3,"mtime_ns":4},"format":"png","size":{"width":100,"height":80},"orientation":1,"sha256":"","converts":false,"several":false,"metadata":false},"state":"failed","owner":"","epoch":0,"offsets":{"top":10,"bottom":10,"left":20,"right":20},"image_id":"image-of-dismissed","task_id":"","link":"","notifications":[],"prepared":null,"result":null,"finished":null,"finish_failed":"","target":null,"resting":"/srv/hot/error/a.png","fault":{"code":"refused_by_api","message":"The API refused this image.","what_to_do":"Save it again and drop that."},"held":false,"note":"","attempts":0,"tries":0,"uploads":1,"strikes":0,"reused_from":"","duplicate_of":"","closed":true,"dismissed":true,"stamps":[{"state":"claimed","at":1800000000.0},{"state":"uploaded","at":1800000001.0},{"state":"submitting","at":1800000002.0},{"state":"failed","at":1800000003.0}]}');
INSERT INTO "jobs" VALUES('damaged','failed',1,0,'',0,X'2F7372762F686F742F696E626F78',X'696D6167652E706E67',NULL,X'2F7372762F686F742F6572726F722F622E706E67','',10,10,20,20,'image-of-damaged',NULL,'','',1800000003.0,'{');
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
CREATE TABLE payments (
    job TEXT NOT NULL,
    number INTEGER NOT NULL,
    inbox BLOB NOT NULL,
    at REAL NOT NULL,
    outcome TEXT NOT NULL,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;
INSERT INTO "payments" VALUES('damaged',0,X'2F7372762F686F742F696E626F78',1800000002.0,'refused');
INSERT INTO "payments" VALUES('dismissed',0,X'2F7372762F686F742F696E626F78',1800000002.0,'refused');
INSERT INTO "payments" VALUES('first',0,X'2F7372762F686F742F696E626F78',1800000002.0,'taken');
INSERT INTO "payments" VALUES('second',0,X'2F7372762F686F742F696E626F78',1800000002.0,'taken');
CREATE INDEX payments_at ON payments (at);
CREATE INDEX over_jobs ON jobs (changed) WHERE closed = 1;
CREATE INDEX open_jobs ON jobs (id) WHERE closed = 0;
CREATE INDEX by_image_id ON jobs (image_id) WHERE image_id != '';
CREATE INDEX by_relative ON jobs (relative);
CREATE INDEX by_content ON jobs (sha256) WHERE state = 'done';
CREATE INDEX failed_jobs ON jobs (id) WHERE state = 'failed';
CREATE INDEX differing_jobs ON jobs (id) WHERE differs = 1;
CREATE INDEX duplicates_paid ON jobs (changed) WHERE duplicate_of != '';
CREATE VIEW counted_payments AS SELECT job, inbox, at FROM payments WHERE outcome IN ('sent', 'taken');
CREATE VIEW whole_jobs AS
    SELECT jobs.*, (
        SELECT json_group_array(json_object('number', number, 'at', at, 'outcome', outcome))
        FROM payments WHERE job = jobs.id
    ) AS payments
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
INSERT INTO "sqlite_sequence" VALUES('commands',0);
COMMIT;
PRAGMA user_version = 5;
