/* SPDX-License-Identifier: LGPL-2.1-or-later */
// SQLite connections, prepared statements and caches of pages, counted by its own interface.
#include <sqlite3.h>

#include "stop.h"

static void run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL))
		_exit(4);
}

int main(int argc, char **argv)
{
	static sqlite3 *db[8];
	long statements = 0;
	const char *directory = argc > 1 ? argv[1] : "/tmp";
	for (int i = 0; i < 8; i++) {
		char name[512];
		snprintf(name, sizeof(name), "%s/test-%d.db", directory, i);
		if (sqlite3_open(i % 2 ? ":memory:" : name, &db[i]))
			_exit(5);
		run(db[i], "create table if not exists t (a integer primary key, b text)");
		run(db[i], "begin");
		for (int k = 0; k < 400; k++)
			run(db[i], "insert into t (b) values (hex(randomblob(100)))");
		run(db[i], "commit");
		if (i == 4)
			run(db[i], "attach ':memory:' as other");
	}
	for (int i = 0; i < 8; i++)
		for (int k = 0; k < 3 + i; k++) {
			sqlite3_stmt *stmt;
			if (sqlite3_prepare_v2(db[i], "select * from t where a > ?", -1, &stmt,
					       NULL))
				_exit(6);
			sqlite3_bind_int(stmt, 1, k);
			if (k % 2)
				sqlite3_step(stmt);
			statements++;
		}
	sqlite3_close(db[7]); // refused: it has statements
	sqlite3 *gone;
	sqlite3_open(":memory:", &gone);
	sqlite3_close(gone);
	int used = 0, most;
	sqlite3_status(SQLITE_STATUS_MALLOC_COUNT, &used, &most, 0);
	say("sqlite3", 8);
	say("sqlite3_stmt", statements);
	say("Btree", 9); // one was attached
	say("Pager", 9);
	say("page cache", 9);
	say("*", used); // every allocation that SQLite has not given back
	stop_here();
	return 0;
}
