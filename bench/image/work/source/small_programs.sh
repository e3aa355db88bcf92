# SPDX-License-Identifier: Apache-2.0
# Starts small programs over and over: fork, exec, wait, pipes, and the dynamic loader.
rounds=$1
round=0
total=0
while [ "$round" -lt "$rounds" ]; do
    /bin/true
    total=$(expr "$total" + "$round")
    word=$(echo "round $round of $rounds" | tr a-z A-Z | cut -d' ' -f2)
    (cd / && test -d etc) && echo "$word $total"
    basename "/a/b/$word" >name
    mv name "name.$((round % 8))"
    round=$((round + 1))
done
cat name.? | sort | uniq -c
