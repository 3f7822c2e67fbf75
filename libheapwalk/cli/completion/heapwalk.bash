# bash completion of heapwalk(1). The command itself knows what may follow: nothing to keep in step here.
_heapwalk()
{
	local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}
	local IFS=$'\n'
	case $previous in
	-p | --pid)
		COMPREPLY=($(compgen -W "$(printf '%s\n' /proc/[0-9]*/ | tr -dc '0-9\n')" -- "$word"))
		return
		;;
	-c | --core | -e | --exe | --output)
		COMPREPLY=($(compgen -f -- "$word"))
		compopt -o filenames
		return
		;;
	--sysroot | --debug-dir)
		COMPREPLY=($(compgen -d -- "$word"))
		compopt -o filenames
		return
		;;
	=)
		# bash takes "--format=js" apart at the equals sign
		previous=${COMP_WORDS[COMP_CWORD-2]}
		;;
	esac
	local words=() i head=
	for ((i = 1; i < COMP_CWORD; i++)); do
		[[ ${COMP_WORDS[i]} == = ]] || words+=("${COMP_WORDS[i]}")
	done
	if [[ $previous == --color && "$word ${COMP_WORDS[COMP_CWORD-1]}" == *=* ]]; then
		# its value is optional: only behind an equals sign is it one
		COMPREPLY=($("${COMP_WORDS[0]}" --complete "--color=${word#=}" 2>/dev/null))
		COMPREPLY=("${COMPREPLY[@]#--color=}")
		return
	fi
	[[ $word == = ]] && word=
	# A query is one word of the shell, in quotes: what is completed is its last part.
	if [[ $word == [\'\"]* ]]; then
		word=${word:1}
		if [[ $word == *" "* ]]; then
			head="${word% *} "
			word=${word##* }
			words+=("$head")
		fi
		compopt -o nospace
	fi
	COMPREPLY=($("${COMP_WORDS[0]}" --complete "${words[@]}" "$word" 2>/dev/null))
	COMPREPLY=("${COMPREPLY[@]/#/$head}")
}
complete -F _heapwalk heapwalk
