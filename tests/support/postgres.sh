# A PostgreSQL of one's own in a temporary folder, reached by a socket in that folder. Prints the folder, then obeys
# the lines "start" and "kill" of its input and answers each with "done". Ends, and leaves nothing behind, with its
# input, so also when whoever started it was killed.
#
#   sh -c TEXT TEXT FSYNC    where TEXT is this file, because the user that it becomes may not be able to read the file
set -eu
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL refuses to run as root.
    exec runuser -u postgres -- sh -c "$0" "$0" "$1"
fi
umask 077
for programs in /usr/lib/postgresql/*/bin; do
    PATH=$programs:$PATH
done
folder=$(mktemp -d /tmp/redred-postgres.XXXXXX)
cd "$folder"
trap 'pg_ctl -s -D data -m immediate stop >log 2>&1 || :; cd /; rm -rf "$folder"' EXIT
trap 'exit 1' INT TERM
initdb -D data -U redred -A trust -E UTF8 --locale=C --no-sync >log
cat >>data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '$folder'
fsync = $1
END
echo "$folder"
while read -r command; do
    case $command in
    start) pg_ctl -s -w -D data -l log start ;;
    # As if the machine had lost its power: no goodbye to anybody, and recovery at the next start.
    kill) pg_ctl -s -w -D data -m immediate stop ;;
    esac
    echo done
done
