#!/bin/bash
# Copies the store of GREENSHIFT_DATABASE_URL into a folder while it is in use, and keeps the newest copies.
# Usage: backup.sh FOLDER [HOW_MANY]   (default 48). Needs sqlite3, or pg_dump of the server's version or newer.
set -eu
umask 077
folder=$1 keep=${2:-48} url=${GREENSHIFT_DATABASE_URL:?names the store}
mkdir -p "$folder"
copy="$folder/greenshift-$(date -u +%Y%m%dT%H%M%S.%NZ)"
# No half copy is left, nor one of a copying that was killed, into which nothing was written for an hour.
trap 'rm -f -- "$copy".part*' EXIT
find "$folder" -maxdepth 1 -name 'greenshift-*.part*' -mmin +60 -delete
case $url in
sqlite:///*)
    copy=$copy.sqlite
    file=${url#sqlite:///}
    test -f "$file" || { echo "backup: $file is not there" >&2; exit 2; }
    sqlite3 "$file" ".timeout 60000" ".backup '$copy.part'"
    test "$(sqlite3 "$copy.part" 'PRAGMA integrity_check')" = ok
    ;;
postgresql://*)
    copy=$copy.dump
    # What a program is started with everybody may read, and its environment its own user alone.
    password= server=${url%%[?#]*} rest=
    [ "$server" = "$url" ] || rest=${url#"$server"}
    if [[ $server =~ ^(postgresql://[^:/@]*):([^/@]*)@(.*)$ ]]; then
        password=${BASH_REMATCH[2]} server=${BASH_REMATCH[1]}@${BASH_REMATCH[3]}
    fi
    if [[ $rest =~ ^(.*[?\&])password=([^\&]*)\&?(.*)$ ]]; then
        password=${BASH_REMATCH[2]} rest=${BASH_REMATCH[1]}${BASH_REMATCH[3]}
    fi
    if [ -n "$password" ]; then
        password=${password//\\/\\\\}
        printf -v PGPASSWORD %b "${password//%/\\x}"
        export PGPASSWORD
    fi
    pg_dump --dbname="$server$rest" --format=custom --no-owner --file="$copy.part"
    pg_restore --list "$copy.part" >/dev/null
    ;;
*)
    echo "backup: GREENSHIFT_DATABASE_URL must be sqlite:///FILE or postgresql://..." >&2
    exit 2
    ;;
esac
mv "$copy.part" "$copy"
echo "$copy"
# Names sort by time, and have no spaces.
for old in $(ls -r "$folder" | grep -E '^greenshift-[0-9TZ.]+\.(sqlite|dump)$' | tail -n "+$((keep + 1))"); do
    rm -- "${folder:?}/$old"
done
